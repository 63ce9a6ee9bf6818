"""The HTTP edge: FastAPI over core. Parses, authenticates, calls one use case, shapes the answer."""
