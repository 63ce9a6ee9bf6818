"""Pure decisions: states, edges, retries, ids, errors and events.

No clock, no randomness, no I/O and no framework in here; every function is a table or arithmetic.
"""
