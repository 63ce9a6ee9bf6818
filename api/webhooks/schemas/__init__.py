"""The shapes of webhook endpoints, deliveries and events over HTTP."""
