"""Column types, defined once for all tables.

States are text with a CHECK: a native enum is painful to migrate, and its `=` is not leakproof, so an index on it is
useless next to a row-level-security policy.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, LargeBinary, SmallInteger, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def uuid_key() -> UUID:
    """A UUID that is part of the primary key."""
    return Field(sa_type=Uuid, primary_key=True)  # type: ignore[no-any-return]  # sqlmodel types it Any


def instant(*, default_now: bool = False) -> datetime:
    """A moment in UTC that is always there."""
    server = {"server_default": text("now()")} if default_now else {}
    return Field(sa_type=DateTime(timezone=True), nullable=False, sa_column_kwargs=server)  # type: ignore[no-any-return]


def optional_instant() -> datetime | None:
    """A moment in UTC that may not have come yet."""
    return Field(default=None, sa_type=DateTime(timezone=True))  # type: ignore[no-any-return]


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """CHECK that a text column holds one of `values`."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


TEXT: Any = Text
SMALL: Any = SmallInteger
BYTES: Any = LargeBinary
JSON_OBJECT: Any = JSONB
TEXT_LIST: Any = ARRAY(Text)
