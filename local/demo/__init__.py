"""`inferd demo`: five jobs on servers of its own in a temporary folder, and a table of what became of them."""
