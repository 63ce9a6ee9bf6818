"""Logs, metrics, and reports of bugs to Sentry. Each entry point configures them once."""
