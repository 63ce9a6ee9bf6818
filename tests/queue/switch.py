"""A TCP name for one of several Valkeys: who connects reaches the one it is turned to, and stays there."""

import asyncio

from tests.queue.own_valkey import OwnValkey
from tests.support.relay import Relay


class Switch(Relay):
    """Connections that are open stay with the server that they reached, as after a change of a name's address."""

    def __init__(self, valkey: OwnValkey) -> None:
        super().__init__()
        self._valkey = valkey

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def turn_to(self, valkey: OwnValkey) -> None:
        """For new connections."""
        self._valkey = valkey

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self._valkey.folder / "valkey.sock")
