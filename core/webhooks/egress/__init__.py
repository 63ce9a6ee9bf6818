"""What goes out to an address that a tenant chose: the signature, the guarded socket, and how many requests an address
may have at a time. Knows nothing of tables.
"""
