"""The receivers of docs/webhooks/receivers.md, as a reader would run them: copied out of the page into a file."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from core.webhooks.egress.signing import new_signing_secret
from tests.support.waiting import eventually
from tests.webhooks.forgeries import FORGERIES, good

PAGE = Path(__file__).parents[2] / "docs" / "webhooks" / "receivers.md"


@dataclass(frozen=True)
class RunningReceiver:
    """A process that receives at `url`."""

    url: str
    process: asyncio.subprocess.Process

    async def says(self, wanted: str) -> None:
        """Waits for the line; what the framework says of itself is passed over."""
        assert self.process.stdout is not None
        async with asyncio.timeout(15):
            while (line := (await self.process.stdout.readline()).decode().strip()) != wanted:
                assert self.process.stdout.at_eof() is False, line


def code_of(framework: str) -> str:
    """The code block under the heading."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {framework}\n")[2].partition("\n## ")[0]
    found = re.search(r"(?ms)^```\w+\n(.*?)^```$", section)
    assert found is not None, framework
    return found[1]


@asynccontextmanager
async def run_receiver(
    folder: Path, framework: str, secret: str, command: Sequence[str], name: str = "receiver.py"
) -> AsyncIterator[RunningReceiver]:
    """`command` may name {port}."""
    (folder / name).write_text(code_of(framework), encoding="utf-8")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(part.format(port=port) for part in command),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret, "PORT": str(port), "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    async def is_up() -> bool:
        assert process.returncode is None, f"{framework} ended with {process.returncode}"
        try:
            async with httpx2.AsyncClient(trust_env=False) as client:
                return (await client.get(url)).status_code == 404
        except httpx2.HTTPError:
            return False

    try:
        await eventually(is_up, seconds=30, what=f"{framework} is up")
        yield RunningReceiver(f"{url}/hook", process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def check_receiver(receiver: RunningReceiver, secret: str) -> None:
    """A good request is taken and every forgery is not, whatever is wrong with it."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        headers, body = good(secret, new_signing_secret("v1"), new_signing_secret("v1a"))
        assert (await client.post(receiver.url, headers=headers, content=body)).status_code == 204
        await receiver.says("webhook.ping we_1")
        for name, forge in FORGERIES.items():
            headers, body = forge(secret)
            assert (await client.post(receiver.url, headers=headers, content=body)).status_code == 400, name
