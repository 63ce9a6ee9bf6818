"""Decides which calls may go out now, and when to try again: a circuit breaker for each provider and model.

In reading order: breaker, router.
"""
