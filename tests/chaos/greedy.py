"""A greedy tenant beside a quiet one: does the quiet one wait for the other's calls and webhooks?

The quiet tenant submits a small steady stream of interactive jobs. What it waits for a call to begin, and for its
webhook after the answer, is measured alone, then beside a tenant that owes a thousand webhooks to hosts that never
answer, and then beside the same one filling every slot with calls that take minutes. p95 may grow by a half.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from math import inf
from statistics import median
from time import monotonic

import aiohttp

from tests.chaos.clients import Clients, Seen
from tests.chaos.deployment import PROVIDER, Deployment, open_deployment
from tests.chaos.history import Verdict
from tests.chaos.outcome import Outcome, p95
from tests.chaos.plan import Plan
from tests.support.receiver import Receiver, receive
from tests.support.waiting import eventually

_FACTOR = 1.5
# What the machine itself adds now and then; without it a p95 of a few milliseconds would be judged by its noise.
_NOISE_SECONDS = 0.05
_RATE = 10.0
_SETTLED_SECONDS = 1.5
_LONG_CALL = "ok:240"


@dataclass(frozen=True)
class Waits:
    """Seconds, one for each job; `inf` for what did not come while it was waited for. A job that was not called owes no
    webhook."""

    calls: list[float]
    webhooks: list[float]

    def __str__(self) -> str:
        return f"wait for the call {_shown(self.calls)}; for the webhook {_shown(self.webhooks)}"


async def run_greedy(plan: Plan) -> Outcome:
    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(open_deployment(plan))
        quiet_tenant, greedy_tenant = await deployment.tenants(2)
        receiver = await stack.enter_async_context(receive(quiet_tenant.webhook_secret))
        silent = await stack.enter_async_context(_silent_hosts(plan.dead_hosts))
        draw = random.Random(plan.seed)
        body = {"priority": "interactive", "webhook": {"url": receiver.url}}
        quiet = Clients(deployment.urls, quiet_tenant.authorization, draw, body, "quiet")
        greedy = Clients(deployment.urls, greedy_tenant.authorization, draw, {"priority": "interactive"}, "greedy")
        deployment.start()
        await deployment.ready()
        began = monotonic()
        await _stream(deployment, quiet, receiver, seconds=2.0)
        alone = await _stream(deployment, quiet, receiver, seconds=plan.alone_seconds)
        missed, lines = [], [f"quiet, alone: {alone}"]
        if not await _owe_webhooks(plan, deployment, greedy, silent):
            missed.append("the greedy tenant's short jobs did not all run within a minute")
        beside = {"silent webhooks": await _stream(deployment, quiet, receiver, seconds=plan.beside_seconds)}
        await _make_long_calls(plan, deployment, greedy)
        beside["silent webhooks and long calls"] = await _stream(
            deployment, quiet, receiver, seconds=plan.beside_seconds
        )
        still_open = sum(call.outcome == "open" and call.model == _LONG_CALL for call in deployment.provider.calls)
        await _cancel_all(greedy)
        for what, waits in beside.items():
            lines.append(f"quiet, beside {what}: {waits}")
            missed += _missed(f"beside {what}, wait for the call", alone.calls, waits.calls)
            missed += _missed(f"beside {what}, wait for the webhook", alone.webhooks, waits.webhooks)
        verdict = await _verdict(deployment, [quiet, greedy])
        await deployment.fleet.stop()
        title = f"greedy: a quiet tenant beside a greedy one, {monotonic() - began:.0f} s (seed {plan.seed})"
        lines += [
            f"greedy: {plan.dead_webhooks} webhooks to {len(silent)} silent hosts",
            f"greedy: {plan.long_jobs} long jobs, of which {still_open} had a call open at the end",
            f"allowed: p95 ≤ {_FACTOR:g} × alone, or alone + {_NOISE_SECONDS * 1000:g} ms if that is more",
        ]
        return Outcome(title, verdict, lines, missed + deployment.fleet.unclean)


async def _stream(deployment: Deployment, quiet: Clients, receiver: Receiver, *, seconds: float) -> Waits:
    """So many jobs a second, whatever becomes of them; then a moment for the last ones."""
    first = len(quiet.seen)
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http, asyncio.TaskGroup() as group:
        for number in range(int(seconds * _RATE)):
            seen = Seen(f"quiet-{first + number}", "ok:0.05")
            quiet.seen.append(seen)
            group.create_task(quiet.submit(http, seen))
            await asyncio.sleep(1 / _RATE)
    mine = quiet.seen[first:]

    def all_there() -> bool:
        return all(inf not in (call, webhook) for call, webhook in _waits(deployment, receiver, mine))

    with suppress(AssertionError):
        await eventually(all_there, seconds=10.0)
    waits = _waits(deployment, receiver, mine)
    return Waits([call for call, _ in waits], [webhook for call, webhook in waits if call != inf])


def _waits(deployment: Deployment, receiver: Receiver, jobs: Sequence[Seen]) -> list[tuple[float, float]]:
    """From the submit to the first call, and from its answer to the webhook."""
    calls = {call.job_id: call for call in reversed(deployment.provider.calls)}
    hooks = {str(each.event["data"]["job_id"]): each.at for each in reversed(receiver.received)}
    found = []
    for job in jobs:
        call, hook = calls.get(job.job_id or ""), hooks.get(job.job_id or "", inf)
        answered = None if call is None else call.ended_at
        found.append(
            (inf if call is None else call.arrived_at - job.asked_at, inf if answered is None else hook - answered)
        )
    return found


async def _owe_webhooks(plan: Plan, deployment: Deployment, greedy: Clients, silent: Sequence[str]) -> bool:
    """Short jobs, called back at hosts that do not answer. Returns whether all of them ran."""
    for url in silent:
        await greedy.bulk(max(1, plan.dead_webhooks // len(silent)), "ok", webhook={"url": url})
    owing = list(greedy.seen)

    def ended() -> bool:
        answered = {call.job_id for call in deployment.provider.calls if call.outcome == "answered"}
        return all(each.job_id in answered for each in owing)

    with suppress(AssertionError):
        await eventually(ended, seconds=60)
    return ended()


async def _make_long_calls(plan: Plan, deployment: Deployment, greedy: Clients) -> None:
    """Returns when no more of them begin: the greedy tenant has all the slots that it is given."""
    await greedy.bulk(plan.long_jobs, _LONG_CALL)
    begun, since = -1, monotonic()
    while monotonic() - since < _SETTLED_SECONDS:
        now = sum(call.model == _LONG_CALL for call in deployment.provider.calls)
        if now != begun:
            begun, since = now, monotonic()
        await asyncio.sleep(0.1)


async def _cancel_all(crowd: Clients) -> None:
    async with aiohttp.ClientSession() as http:
        await crowd.ask(http, "POST", "/v1/jobs/cancel", json={"model": f"{PROVIDER}/{_LONG_CALL}"})


async def _verdict(deployment: Deployment, crowds: Sequence[Clients]) -> Verdict:
    """Every job has ended, none of the quiet one's otherwise than well. (The greedy one's webhooks go on for days.)"""
    verdict = Verdict(calls=len(deployment.provider.calls))

    def open_jobs() -> list[Seen]:
        return [seen for crowd in crowds for seen in crowd.seen if not seen.ended]

    with suppress(TimeoutError):
        async with asyncio.timeout(60):
            while open_jobs():
                for crowd in crowds:
                    await crowd.read_again()
    verdict.lost = [f"{seen.job_id}: {seen.answers[-1:]}" for seen in open_jobs()]
    verdict.states.update(seen.answers[-1][1] for crowd in crowds for seen in crowd.seen if seen.ended)
    quiet = crowds[0]
    verdict.outage_failures = [
        f"{seen.job_id}: {seen.answers[-1][1]} {seen.error_code}"
        for seen in quiet.seen
        if seen.ended and seen.answers[-1][1] != "succeeded"
    ]
    made = Counter(call.job_id for call in deployment.provider.calls)
    verdict.repeated = [f"{job_id}: {count} calls" for job_id, count in made.items() if count > 1]
    verdict.wrong_answers = [each for crowd in crowds for each in crowd.wrong]
    return verdict


def _missed(name: str, alone: list[float], beside: list[float]) -> list[str]:
    if not alone or not beside:
        return [f"{name}: nothing to measure"]
    unloaded, loaded = p95(alone), p95(beside)
    allowed = max(_FACTOR * unloaded, unloaded + _NOISE_SECONDS)
    if loaded <= allowed:
        return []
    return [f"{name}: p95 {loaded * 1000:.0f} ms beside the greedy tenant, {unloaded * 1000:.0f} ms alone"]


def _shown(seconds: list[float]) -> str:
    if not seconds:
        return "never"
    never = sum(each == inf for each in seconds)
    text = f"p50 {median(seconds) * 1000:.0f} ms, p95 {p95(seconds) * 1000:.0f} ms of {len(seconds)}"
    return text + (f" ({never} not within the time)" if never else "")


@asynccontextmanager
async def _silent_hosts(count: int) -> AsyncIterator[list[str]]:
    """URLs of hosts that take a connection and never answer on it."""
    held: set[asyncio.StreamWriter] = set()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.add(writer)
        with suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        held.discard(writer)
        writer.close()

    servers, port = [], 0
    for number in range(count):
        server = await asyncio.start_server(hold, f"127.0.{9 + number // 250}.{1 + number % 250}", port)
        port = server.sockets[0].getsockname()[1]
        servers.append(server)
    try:
        yield [f"http://{server.sockets[0].getsockname()[0]}:{port}/hook" for server in servers]
    finally:
        for server in servers:
            server.close()
        for writer in list(held):
            writer.close()
