"""The PostgreSQL and the Redis that the suite runs against, and databases made in that PostgreSQL.

INFERD_DATABASE_URL (with INFERD_DATABASE_OWNER_URL, if the owner is another login) and INFERD_REDIS_URL name servers of
the caller's; what is not named is embedded. Whichever it is, the suite works in databases of its own, which it makes
and drops, so a database that somebody uses is never touched. The owner must be allowed to create databases.
"""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from pydantic import SecretStr

from core.settings import DatabaseSettings
from local.embedded.reset import reset
from local.embedded.supervisor import run_embedded
from tests.support.folders import open_folder

# Nobody will ever recover this cluster after a power cut: what only that needs is off. (`make chaos` leaves it on.)
_POSTGRES_SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


@dataclass(frozen=True)
class Servers:
    """URLs of the maintenance database, for its user and its owner, and of Redis."""

    database_url: str
    owner_url: str
    redis_url: str


@asynccontextmanager
async def open_servers(environment: Mapping[str, str]) -> AsyncIterator[Servers]:
    """Those that the environment names; the others embedded, in a folder that is deleted at the end."""
    database_url, redis_url = environment.get("INFERD_DATABASE_URL"), environment.get("INFERD_REDIS_URL")
    owner_url = environment.get("INFERD_DATABASE_OWNER_URL") or database_url
    if database_url and owner_url and redis_url:
        yield Servers(database_url, owner_url, redis_url)
        return
    with open_folder() as folder:
        async with run_embedded(
            folder,
            with_model=False,
            with_postgres=not database_url,
            with_valkey=not redis_url,
            postgres_settings=_POSTGRES_SETTINGS,
        ) as embedded:
            yield Servers(
                database_url=_given(database_url or embedded.database_url),
                owner_url=_given(owner_url or embedded.owner_url),
                redis_url=_given(redis_url or embedded.redis_url),
            )
        reset(folder)


@asynccontextmanager
async def open_database_copy(servers: Servers, *, template: str | None = None) -> AsyncIterator[DatabaseSettings]:
    """A new database, empty or a copy of `template`, that is dropped at the end with whoever is still connected."""
    name = f"inferd_test_{uuid.uuid4().hex[:12]}"
    await _administer(servers, f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}")
    try:
        yield DatabaseSettings(
            url=SecretStr(_renamed(servers.database_url, name)),
            owner_url=SecretStr(_renamed(servers.owner_url, name)),
            pool_size=4,
        )
    finally:
        await _administer(servers, f"DROP DATABASE {name} WITH (FORCE)")


def name_of(settings: DatabaseSettings) -> str:
    """The database's name."""
    return urlsplit(settings.url.get_secret_value()).path.removeprefix("/")


def owner_url(settings: DatabaseSettings) -> str:
    """Where the schema's owner logs in."""
    return (settings.owner_url or settings.url).get_secret_value()


async def _administer(servers: Servers, statement: str) -> None:
    connection = await asyncpg.connect(servers.owner_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _renamed(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _given(url: str | None) -> str:
    assert url is not None
    return url
