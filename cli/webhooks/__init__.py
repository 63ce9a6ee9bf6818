"""Commands for webhooks: endpoints, deliveries, a receiver on this machine, and the check of signatures."""
