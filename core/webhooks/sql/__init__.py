"""The statements of core/webhooks, one a file."""
