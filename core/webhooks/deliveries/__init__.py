"""One event on its way to one receiver: claimed, sent and recorded here; also retried, listed, redelivered and pruned.

The rows are written by core/jobs, in the transaction of the event.
"""
