"""Pure decisions: states, edges, retries, ids, errors and events.

No I/O, no framework and no driver. Time and randomness are arguments; only new ids read the clock.
"""
