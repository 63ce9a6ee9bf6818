"""The shapes of jobs over HTTP."""
