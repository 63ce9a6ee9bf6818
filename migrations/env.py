"""Runs the versions on the connection that core/db/migrate.py passes, each in a transaction of its own."""

from alembic import context
from sqlalchemy import Connection

from core.db.tables import metadata


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
        on_version_apply=context.config.attributes["on_version_apply"],
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
