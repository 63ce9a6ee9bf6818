"""Commands for webhooks: receive them on this machine, test an endpoint, read deliveries, verify signatures."""
