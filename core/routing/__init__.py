"""Which calls may go out now, and when to ask again: a breaker for each provider and model, behind one question.

In reading order: breaker, router.
"""
