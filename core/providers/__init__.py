"""Calls model providers: the Provider protocol, its adapters, and the one table of faults.

In reading order: port, fault_codes, faults, retry_after, redact, params, answer, chat_stream, transport, shards, the
adapters, catalogue.
"""
