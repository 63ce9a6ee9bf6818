"""The statements of core/webhooks/store.py, one a file."""
