"""PostgreSQL: the engine and its pools, the one commit, group commit, and the tables.

Queries live with the feature they serve (core/jobs, core/webhooks, core/access); nothing outside core writes SQL.
"""
