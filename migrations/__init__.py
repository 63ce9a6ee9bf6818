"""Alembic's environment and versions. Run by `inferd migrate` (core/db/migrate.py); see migrations/README.md."""
