"""Decides everything; knows no HTTP framework, no worker loop and no command line.

In reading order: domain, settings, observability, db, providers, access, queue, webhooks, jobs, embedded, runtime.
"""
