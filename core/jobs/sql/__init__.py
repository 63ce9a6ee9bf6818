"""The statements of core/jobs/store.py and core/jobs/queries.py, one a file."""
