"""The clients: they submit, poll and cancel through whatever API answers, and write down everything they were told."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

_POLL_SECONDS = 10.0


@dataclass
class Seen:
    """What one client saw of one job: `told` are its states, in the order of the answers."""

    key: str
    model: str
    job_id: str | None = None
    told: list[tuple[int, str]] = field(default_factory=list)
    cancelled: bool = False
    output: str | None = None

    @property
    def ended(self) -> bool:
        return bool(self.told) and self.told[-1][1] not in ("queued", "running")


@dataclass
class Clients:
    """`urls` are the APIs; each request goes to one of them, and to another when that one is away."""

    urls: Sequence[str]
    authorization: str
    receiver_url: str
    draw: random.Random
    seen: list[Seen] = field(default_factory=list)
    submitted: int = 0

    async def run(self, models: Sequence[str], *, cancel_share: float, concurrency: int) -> None:
        """Submits one job for each of `models` and follows every one to its end. Returns when all have ended."""
        self.seen = [Seen(f"chaos-{index}", model) for index, model in enumerate(models)]
        cancelled = {id(seen) for seen in self.seen if self.draw.random() < cancel_share}
        slots = asyncio.Semaphore(concurrency)
        async with self._session() as http:

            async def one(seen: Seen) -> None:
                async with slots:
                    await self._submit(http, seen)
                    if id(seen) in cancelled:
                        await asyncio.sleep(self.draw.uniform(0.0, 0.3))
                        await self._cancel(http, seen)
                    while not seen.ended:
                        await self._poll(http, seen)

            async with asyncio.TaskGroup() as group:
                for seen in self.seen:
                    group.create_task(one(seen))

    async def read_again(self) -> None:
        """Once more, after everything is over: an end that was told must still be so."""
        async with self._session() as http:
            slots = asyncio.Semaphore(16)

            async def one(seen: Seen) -> None:
                async with slots:
                    await self._poll(http, seen, wait=0)

            async with asyncio.TaskGroup() as group:
                for seen in self.seen:
                    group.create_task(one(seen))

    async def _submit(self, http: aiohttp.ClientSession, seen: Seen) -> None:
        body = {
            "model": f"chaos/{seen.model}",
            "input": seen.key,
            "max_attempts": 4,
            "timeout_seconds": 30,
            "webhook": {"url": self.receiver_url},
        }
        answer = await self._ask(http, "POST", "/v1/jobs", json=body, key=seen.key)
        seen.job_id = answer["id"]
        self.submitted += 1
        self._note(seen, answer)

    async def _cancel(self, http: aiohttp.ClientSession, seen: Seen) -> None:
        answer = await self._ask(http, "POST", f"/v1/jobs/{seen.job_id}/cancel")
        seen.cancelled = seen.cancelled or answer["status"] == "cancelled"
        self._note(seen, answer)

    async def _poll(self, http: aiohttp.ClientSession, seen: Seen, wait: float = _POLL_SECONDS) -> None:
        self._note(seen, await self._ask(http, "GET", f"/v1/jobs/{seen.job_id}?wait={wait:g}"))

    @staticmethod
    def _note(seen: Seen, job: dict[str, Any]) -> None:
        version = sum(1 for _ in job["attempts"])
        seen.told.append((version, job["status"]))
        if job["output"] is not None:
            seen.output = job["output"]["text"]

    async def _ask(
        self, http: aiohttp.ClientSession, method: str, path: str, *, json: object = None, key: str | None = None
    ) -> dict[str, Any]:
        """The answer, however long it takes: what can't be answered now is asked again, under the same key."""
        headers = {"authorization": self.authorization} | ({"idempotency-key": key} if key else {})
        while True:
            url = self.draw.choice(self.urls) + path
            try:
                async with http.request(method, url, json=json, headers=headers) as answer:
                    if answer.status in (200, 202):
                        return dict(await answer.json())
                    if answer.status not in (429, 503):
                        raise AssertionError(f"{method} {path} answered {answer.status}: {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(random.uniform(0.2, 0.6))

    @staticmethod
    def _session() -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=_POLL_SECONDS + 5)
        return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
