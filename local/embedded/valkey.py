"""Valkey: starts the wheel's server with every write in its append-only file, on a unix socket.

It uses a socket instead of a port: there are no conflicts and no password, no other user of the machine can connect,
and both redis.asyncio and arq's RedisSettings.from_dsn accept `unix:///path?db=0`. Writes that Valkey acknowledged more
than a second ago survive a crash, and it refuses writes rather than evict keys. The supervisor calls it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from signal import SIGTERM

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from local.embedded.folders import Folders
from local.embedded.processes import Child, Program, wait_for_first
from local.embedded.wheels import valkey_server

_READY_SECONDS = 60.0
_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
# `dir .` is the working directory, so no path of the user needs quoting.
_CONFIG = """\
port 0
unixsocket {socket}
unixsocketperm 700
dir .
daemonize no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
always-show-logo no
"""


@dataclass(frozen=True)
class Valkey:
    url: str
    version: str


async def start_valkey(folders: Folders, start: Callable[[Program], Child]) -> Valkey:
    binary = valkey_server()
    config = folders.valkey / "valkey.conf"
    config.write_text(_CONFIG.format(socket=folders.valkey_socket))
    child = start(
        Program(
            name="Valkey",
            command=[str(binary), config.name],
            folder=folders.valkey,
            log=folders.logs / "valkey.log",
            stop_signals=((SIGTERM, 2.0),),
            environment=_ENVIRONMENT,
        )
    )
    url = f"unix://{os.fspath(folders.valkey_socket)}?db=0"
    return Valkey(url, await wait_for_first(child, lambda: _version(url), _READY_SECONDS))


async def _version(url: str) -> str | None:
    """Returns None while it does not listen yet or still loads its file."""
    try:
        async with Redis.from_url(url, socket_timeout=5) as client:
            return str((await client.info("server"))["valkey_version"])
    except (BusyLoadingError, RedisError, OSError):
        return None
