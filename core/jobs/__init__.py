"""A job from its submission to its end, one use case a file.

On the way: submit → claim → execute → finish. From the side: cancel, retry, sweep, prune. Reading: queries.
Only store.py writes jobs, with the statements in sql/.
"""
