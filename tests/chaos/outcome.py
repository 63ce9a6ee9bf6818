"""What a part of a run came to, and how it is printed."""

import asyncio
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
from redis.asyncio import Redis

from core.queue.keys import IN_PROGRESS, JOB_LANES, Keys
from tests.chaos.calls import History
from tests.chaos.clients import Clients
from tests.chaos.deployment import Deployment
from tests.chaos.history import RECOVERY_TARGET_SECONDS, Verdict, judge
from tests.chaos.outage import Outage
from tests.support.invariants import keys_without_end
from tests.support.receiver import Receiver
from tests.support.waiting import eventually

_SHOWN = 8


@dataclass
class Outcome:
    """`lines` say what was done and measured; `missed` are targets besides the verdict's."""

    title: str
    verdict: Verdict
    lines: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        return self.verdict.met and not self.missed


def report(outcome: Outcome) -> str:
    """What `make chaos` prints of a part."""
    verdict = outcome.verdict
    times = verdict.recoveries
    lines = [
        outcome.title,
        *(f"  {line}" for line in outcome.lines),
        f"  ended: {', '.join(f'{state} {count}' for state, count in sorted(verdict.states.items()))}",
        *(_line(name, found) for name, found in verdict.violations.items()),
        _line("other targets missed", outcome.missed),
        f"  calls: {verdict.calls}, of which repeated for a dead worker (allowed): {verdict.allowed_calls}",
        f"  most runs of a job, snoozes included: {verdict.most_runs}",
        f"  webhooks sent again with the same id (allowed): {verdict.duplicate_webhooks}",
        f"  recovery of {len(times)} calls of killed workers: {_times(times)}",
        f"  {'every target is met' if outcome.met else 'A TARGET IS MISSED'}",
    ]
    return "\n".join(lines)


def _times(seconds: list[float]) -> str:
    p50, p99 = (
        statistics.quantiles(seconds, n=100, method="inclusive")[index] if len(seconds) > 1 else sum(seconds)
        for index in (49, 98)
    )
    return f"p50 {p50:.1f} s, p99 {p99:.1f} s, max {max(seconds, default=0.0):.1f} s (target {RECOVERY_TARGET_SECONDS:g} s)"


def p95(seconds: Sequence[float]) -> float:
    """Of at least one."""
    return sorted(seconds)[int(len(seconds) * 0.95)]


def _line(name: str, found: list[str]) -> str:
    more = [f"… and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return f"  {name}: {len(found)}" + "".join(f"\n      {each}" for each in (*found[:_SHOWN], *more))


async def judged(
    deployment: Deployment,
    crowds: Sequence[Clients],
    receivers: Sequence[Receiver],
    outages: Sequence[Outage],
    *,
    started: float,
    max_attempts: int,
) -> Verdict:
    """Waits until every webhook is delivered, reads everything once more, and lays the logs side by side."""
    owner = await asyncpg.connect(deployment.owner_url, server_settings={"app.fleet": "on"})
    try:

        async def settled() -> bool:
            waiting = "SELECT count(*) FROM deliveries WHERE state = 'pending'"
            return bool(await owner.fetchval(waiting) == 0)

        with suppress(AssertionError):
            await eventually(settled, seconds=60)
        for crowd in crowds:
            await crowd.read_again()
        verdict = await judge(
            owner,
            seen=[seen for crowd in crowds for seen in crowd.seen],
            history=History(deployment.provider.calls, deployment.fleet.gone, outages, started, max_attempts),
            received=[each for receiver in receivers for each in receiver.received],
            kills=deployment.fleet.kills,
            lease_seconds=deployment.settings.worker.lease_seconds,
        )
    finally:
        await owner.close()
    verdict.wrong_answers += [each for crowd in crowds for each in crowd.wrong]
    verdict.leftovers += await _left(deployment)
    return verdict


async def _left(deployment: Deployment) -> list[str]:
    """What is still in Redis when all jobs have ended, in words. A worker writes to Redis after PostgreSQL."""
    async with deployment.valkey.client() as redis:
        left = await _left_now(redis, deployment.keys)
        for _ in range(50):
            if left:
                await asyncio.sleep(0.1)
                left = await _left_now(redis, deployment.keys)
        return left


async def _left_now(redis: Redis, keys: Keys) -> list[str]:
    lanes = {lane.value: int(await redis.zcard(keys.lane(lane))) for lane in JOB_LANES}
    holds = [name.decode() async for name in redis.scan_iter(f"{IN_PROGRESS}job_*")]
    return [
        *(f"{count} jobs in {lane}" for lane, count in lanes.items() if count),
        *holds,
        *(f"{name} has no TTL" for name in sorted(await keys_without_end(redis, keys))),
    ]
