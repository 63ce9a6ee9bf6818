"""A Valkey of a test's own: to stop, pause, fill and empty without anybody else's losing anything.

Used by tests/queue, tests/worker and tests/chaos through their fixtures.
"""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from core.settings import Settings
from local.embedded.wheels import valkey_server
from tests.support.folders import open_folder
from tests.support.waiting import eventually


@dataclass
class OwnValkey:
    """One server on a unix socket. It keeps nothing on disk, so a restart forgets everything."""

    folder: Path
    _process: Process | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"unix://{os.fspath(self.folder / 'valkey.sock')}?db=0"

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        async with Redis.from_url(self.url, socket_timeout=5) as client:
            yield client

    async def start(self) -> None:
        """Valkey answers when this returns."""
        command = [os.fspath(valkey_server()), "--port", "0", "--unixsocket", "valkey.sock", "--save", ""]
        self._process = await asyncio.create_subprocess_exec(*command, cwd=self.folder, stdout=DEVNULL)
        await eventually(self._answers, what="Valkey answers")

    async def kill(self) -> None:
        """Gone at once, with everything it knew."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        self._process = None
        (self.folder / "valkey.sock").unlink(missing_ok=True)

    def pause(self) -> None:
        """Valkey takes connections and bytes, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def close(self) -> None:
        if self._process is not None:
            await self.kill()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def _answers(self) -> bool:
        try:
            async with self.client() as client:
                return bool(await client.ping())
        except (RedisError, OSError):
            return False


@asynccontextmanager
async def open_valkey() -> AsyncIterator[OwnValkey]:
    """A running one."""
    with open_folder() as folder:
        valkey = OwnValkey(folder)
        await valkey.start()
        try:
            yield valkey
        finally:
            await valkey.close()


def on_valkey(settings: Settings, valkey: OwnValkey, *, enqueue_timeout_seconds: float = 2.0) -> Settings:
    """The same settings with this Redis, which nobody cleans: it may be dead by then."""
    redis = settings.redis.model_copy(
        update={"url": SecretStr(valkey.url), "enqueue_timeout_seconds": enqueue_timeout_seconds}
    )
    return settings.model_copy(update={"redis": redis})
