"""`inferd serve`: everything on this machine, kept running; and the text that it prints when it is ready."""
