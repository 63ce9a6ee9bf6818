"""PostgreSQL, Valkey and a small language model as child processes of one command, so that a laptop needs no server.

supervisor.py is the door; the rest is one concern a file. Not for production: docker-compose.yml and deploy/ are.
"""
