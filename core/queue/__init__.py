"""The queue: arq's own keys in Redis, written and claimed with Lua. The only place, with worker/, that knows arq.

Nothing here is the truth. Any content of Redis may delay a job; PostgreSQL decides whether it runs.
"""
