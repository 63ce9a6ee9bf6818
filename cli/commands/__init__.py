"""The signatures of the commands, and nothing that takes time to import: the work is in the modules beside."""
