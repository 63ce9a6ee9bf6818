"""One file for each resource: parse, call one use case of core, shape the answer."""
