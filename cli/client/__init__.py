"""Commands for callers of the API: submit, follow, list, cancel and retry jobs over HTTP."""
