"""The routes of webhook endpoints and deliveries, and their shapes."""
