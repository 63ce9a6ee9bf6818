"""PostgreSQL: creates the cluster once, starts the server on a unix socket only, and creates the database if needed.

There is no TCP, and only accounts that may enter the socket's folder can connect, so it needs no password. fsync is on
unless a test turns it off. A cluster exists completely or not at all. The supervisor calls it.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM

import asyncpg

from local.embedded.binaries import Binaries, binaries_for
from local.embedded.errors import WrongVersion
from local.embedded.folders import Folders
from local.embedded.processes import Child, Program, run_to_end, wait_for_first

DATABASE = "inferd"
OWNER = "postgres"
APP_ROLE = "inferd_app"
"""Made by the migrations: may log in, owns nothing."""

_PORT = 5432
_INITDB_SECONDS = 60.0
# Recovery after a crash replays up to max_wal_size.
_READY_SECONDS = 120.0
_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(_PORT),
    "cluster_name": "inferd",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Without DETAIL: "Failing row contains (...)" would put prompts into the log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True)
class Postgres:
    app_url: str
    owner_url: str
    version: str


async def start_postgres(folders: Folders, start: Callable[[Program], Child], settings: Mapping[str, str]) -> Postgres:
    """`settings` win over the ones above; the test suite passes fsync=off."""
    binaries = await binaries_for(folders.account)
    found = folders.cluster / "PG_VERSION"
    if not found.is_file():
        await _make_cluster(folders, binaries, durable=settings.get("fsync", "on") != "off")
    elif (major := found.read_text().strip()) != binaries.major:
        raise WrongVersion(major, binaries.version)
    options = {**_SETTINGS, "unix_socket_directories": str(folders.postgres_sockets), **settings}
    arguments = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    child = start(_program(folders, binaries, "postgres", ["-D", str(folders.cluster), *arguments]))
    await wait_for_first(child, lambda: _ensure_database(folders.postgres_sockets), _READY_SECONDS)
    return Postgres(
        app_url=_url(APP_ROLE, folders.postgres_sockets),
        owner_url=_url(OWNER, folders.postgres_sockets),
        version=binaries.version,
    )


async def _make_cluster(folders: Folders, binaries: Binaries, *, durable: bool) -> None:
    # Created under another name, so that a kill in the middle leaves nothing that looks like a cluster.
    fresh = folders.cluster.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    arguments = [
        *("-D", str(fresh), "-U", OWNER, "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8"),
        # PostgreSQL's own collation: the same on every system and after every upgrade of the C library.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *(() if durable else ("--no-sync",)),
    ]
    await run_to_end(_program(folders, binaries, "initdb", arguments), _INITDB_SECONDS)
    fresh.rename(folders.cluster)


def _program(folders: Folders, binaries: Binaries, name: str, arguments: Sequence[str]) -> Program:
    return Program(
        name="PostgreSQL" if name == "postgres" else name,
        command=[str(binaries.folder / name), *arguments],
        folder=folders.postgres,
        log=folders.logs / "postgres.log",
        # Fast shutdown; then at once, which costs a recovery at the next start and loses nothing.
        stop_signals=((SIGINT, 1.8), (SIGQUIT, 0.6)) if name == "postgres" else ((SIGTERM, 0.5),),
        account=folders.account,
        environment=_ENVIRONMENT,
    )


async def _ensure_database(sockets: Path) -> bool | None:
    """Returns None while the server does not accept connections yet."""
    try:
        connection = await asyncpg.connect(host=str(sockets), port=_PORT, user=OWNER, database="postgres", timeout=5)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
        return None
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        return True
    finally:
        await connection.close()


def _url(role: str, sockets: Path) -> str:
    # The port is set explicitly, because without it PGPORT of the user's shell would apply.
    return f"postgresql://{role}@/{DATABASE}?host={sockets}&port={_PORT}"
