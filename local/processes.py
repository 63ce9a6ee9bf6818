"""The API and the workers as child processes of one command. Used by local/stack.py.

Guarantees what local/embedded/processes.py does: a log file each, an end in bounded time, and on Linux an end with the
parent even after kill -9. Where that takes time, or never happens, the next start stops what is left, by the
record in the data directory.
"""

import asyncio
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.exit_codes import CommandFailed
from cli.operate.roles import python_module
from local.embedded.leftovers import Identity, identity_of, record
from local.embedded.processes import Child, Program


@dataclass
class Roles:
    """The processes of one command. `folder` has their record, `environment` is what they all see."""

    folder: Path
    logs: Path
    working_folder: Path
    environment: Mapping[str, str]
    grace_seconds: float
    children: list[Child] = field(default_factory=list)
    _known: dict[str, Identity] = field(default_factory=dict)

    def start(self, name: str, module: str, log: str) -> Child:
        child = Child(
            Program(
                name=name,
                command=python_module(module),
                folder=self.working_folder,
                log=self.logs / log,
                stop_signals=((signal.SIGTERM, self.grace_seconds),),
                environment=self.environment,
            )
        )
        self.children.append(child)
        identity = identity_of(child.pid)
        if identity is not None:
            self._known[name] = identity
            record(self.folder, self._known)
        return child

    async def stop(self) -> None:
        await asyncio.gather(*(child.stop() for child in self.children))
        record(self.folder, {})


def free_port(host: str) -> int:
    """Returns a port that is free now."""
    with socket.create_server((host, 0), family=_family(host)) as listener:
        return int(listener.getsockname()[1])


def check_port(host: str, port: int, next_step: str) -> None:
    """Raises CommandFailed when the port can't be listened on: better now than after everything else has started."""
    try:
        # As uvicorn does: a connection that is still closing does not hold the port.
        socket.create_server((host, port), family=_family(host)).close()
    except OSError as error:
        raise CommandFailed(f"The API can't listen on {host}:{port}: {error.strerror or error}. {next_step}") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def browsable(host: str) -> str:
    """Returns the host to call when the API listens on `host`, which may stand for all addresses."""
    called = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{called}]" if ":" in called else called
