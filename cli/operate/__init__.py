"""Commands for operators: roles of a production system, tenants and keys, and the doctor."""
