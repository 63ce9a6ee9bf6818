"""What all routes share: reading bodies, errors, admission, connections, the OpenAPI document."""
