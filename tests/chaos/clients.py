"""The clients: they submit, poll and cancel through whatever API answers, and write down every answer."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import time
from typing import Any

import aiohttp

from tests.chaos.deployment import PROVIDER

_POLL_SECONDS = 10.0


@dataclass
class Seen:
    """What one client saw of one job: `answers` are its states, in the order of the answers. Times are Unix seconds."""

    key: str
    model: str
    job_id: str | None = None
    answers: list[tuple[int, str]] = field(default_factory=list)
    cancelled: bool = False
    output: str | None = None
    error_code: str | None = None
    asked_at: float = 0.0
    accepted_at: float | None = None
    ended_at: float | None = None

    @property
    def ended(self) -> bool:
        return bool(self.answers) and self.answers[-1][1] not in ("queued", "running")


@dataclass
class Clients:
    """`urls` are the APIs; each request goes to one of them, and to another when that one is away.

    `body` is what each job has besides its model and its input. `wrong` are answers that no client should get.
    """

    urls: Sequence[str]
    authorization: Mapping[str, str]
    draw: random.Random
    body: Mapping[str, object] = field(default_factory=dict)
    name: str = "chaos"
    seen: list[Seen] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    async def run(self, models: Sequence[str], *, cancel_share: float, concurrency: int) -> None:
        """Submits one job for each of `models` and follows every one to its end. Returns when all have ended."""
        self.seen = [Seen(f"{self.name}-{index}", model) for index, model in enumerate(models)]
        cancelled = {id(seen) for seen in self.seen if self.draw.random() < cancel_share}
        slots = asyncio.Semaphore(concurrency)
        async with self._session() as http:

            async def one(seen: Seen) -> None:
                async with slots:
                    await self._follow(http, seen, cancelling=id(seen) in cancelled)

            async with asyncio.TaskGroup() as group:
                for seen in self.seen:
                    group.create_task(one(seen))

    async def keep_busy(self, model: Callable[[], str], *, concurrency: int, stop: asyncio.Event) -> None:
        """So many clients, each with one job after the other, until `stop` and until the last one has ended."""
        async with self._session() as http:

            async def one(number: int) -> None:
                # Not all in one moment, so that calls of every age are under way later.
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 2.0 * number / concurrency)
                while not stop.is_set():
                    seen = Seen(f"{self.name}-{len(self.seen)}", model())
                    self.seen.append(seen)
                    await self._follow(http, seen)

            async with asyncio.TaskGroup() as group:
                for number in range(concurrency):
                    group.create_task(one(number))

    async def read_again(self) -> None:
        """Once more, after everything is over: an end that was answered must still be so."""
        async with self._session() as http:
            slots = asyncio.Semaphore(16)

            async def one(seen: Seen) -> None:
                async with slots:
                    await self._poll(http, seen, wait=0)

            async with asyncio.TaskGroup() as group:
                for seen in self.seen:
                    if seen.job_id is not None:
                        group.create_task(one(seen))

    async def bulk(self, count: int, model: str, **more: object) -> list[Seen]:
        """So many jobs in requests of 500; they are not followed."""
        seen = [Seen(f"{self.name}-{len(self.seen) + index}", model) for index in range(count)]
        self.seen += seen
        async with self._session() as http:
            for start in range(0, count, 500):
                lines = [
                    dict(self.body)
                    | more
                    | {"model": f"{PROVIDER}/{model}", "input": each.key, "idempotency_key": each.key}
                    for each in seen[start : start + 500]
                ]
                asked_at = time()
                answer = await self.ask(http, "POST", "/v1/jobs/bulk", json={"jobs": lines})
                for each, line in zip(seen[start : start + 500], answer["data"], strict=True):
                    each.job_id, each.asked_at, each.accepted_at = line["id"], asked_at, time()
        return seen

    async def _follow(self, http: aiohttp.ClientSession, seen: Seen, *, cancelling: bool = False) -> None:
        await self.submit(http, seen)
        if cancelling:
            await asyncio.sleep(self.draw.uniform(0.0, 0.3))
            await self._cancel(http, seen)
        while not seen.ended:
            await self._poll(http, seen)

    async def submit(self, http: aiohttp.ClientSession, seen: Seen) -> None:
        body = dict(self.body) | {"model": f"{PROVIDER}/{seen.model}", "input": seen.key}
        seen.asked_at = time()
        answer = await self.ask(http, "POST", "/v1/jobs", json=body, key=seen.key)
        seen.job_id, seen.accepted_at = answer["id"], time()
        self._note(seen, answer)

    async def _cancel(self, http: aiohttp.ClientSession, seen: Seen) -> None:
        answer = await self.ask(http, "POST", f"/v1/jobs/{seen.job_id}/cancel")
        seen.cancelled = seen.cancelled or answer["status"] == "cancelled"
        self._note(seen, answer)

    async def _poll(self, http: aiohttp.ClientSession, seen: Seen, wait: float = _POLL_SECONDS) -> None:
        self._note(seen, await self.ask(http, "GET", f"/v1/jobs/{seen.job_id}?wait={wait:g}"))

    @staticmethod
    def _note(seen: Seen, job: dict[str, Any]) -> None:
        version = sum(1 for _ in job["attempts"])
        seen.answers.append((version, job["status"]))
        if seen.ended and seen.ended_at is None:
            seen.ended_at = time()
        if job["output"] is not None:
            seen.output = job["output"]["text"]
        if job["error"] is not None:
            seen.error_code = job["error"]["code"]

    async def ask(
        self, http: aiohttp.ClientSession, method: str, path: str, *, json: object = None, key: str | None = None
    ) -> dict[str, Any]:
        """The answer, however long it takes: what can't be answered now is asked again, under the same key."""
        headers = dict(self.authorization) | ({"idempotency-key": key} if key else {})
        while True:
            url = self.draw.choice(self.urls) + path
            try:
                async with http.request(method, url, json=json, headers=headers) as answer:
                    if answer.status in (200, 201, 202):
                        return dict(await answer.json())
                    if answer.status not in (429, 503):
                        self.wrong.append(f"{method} {path} answered {answer.status}: {(await answer.text())[:300]}")
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(random.uniform(0.2, 0.6))

    @staticmethod
    def _session() -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=_POLL_SECONDS + 5)
        return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
