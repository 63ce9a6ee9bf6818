"""Where a tenant wants its events sent: endpoints are registered, changed, tested and deleted here, and their secrets
rotated. What is sent to them is in core/webhooks/deliveries.
"""
