"""Signed webhooks, in three folders: endpoints (where to send), deliveries (what is sent), egress (how it is sent).

A delivery's row is written in the transaction of its event (core/jobs/sql) and sent by a worker.
"""
