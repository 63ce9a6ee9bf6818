"""Speaks to the servers that answer: a Protocol, its adapters, and the one table of what can go wrong.

In reading order: port, fault_codes, faults, retry_after, redact, params, answer, chat_stream, transport, shards, the
adapters, catalogue.
"""
