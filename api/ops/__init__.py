"""Routes for whoever operates the API: health and metrics."""
