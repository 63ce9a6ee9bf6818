"""PostgreSQL, Valkey and a small language model as child processes of one command, so that a laptop needs no server.

supervisor.py is the entry point; each other file has one concern. Not for production: see docs/operations/deploy.md.
"""
