"""Tools for developing inferd. Nothing here is part of a running system."""
