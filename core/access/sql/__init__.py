"""The statements of core/access, one a file."""
