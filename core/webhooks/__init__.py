"""Webhooks that arrive: rows written with a job's last transaction (core/jobs/sql/apply.sql), sent from here.

In the order of a delivery: url_policy (at submit), schedule, signing, egress (the guarded socket), deliver, store.
"""
