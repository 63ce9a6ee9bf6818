"""Who calls: tenants, their API keys, and the caller that a request turns out to be."""
