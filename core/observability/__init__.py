"""What the system says of itself: logs, metrics, and bugs to Sentry. Set up once by each entry point."""
