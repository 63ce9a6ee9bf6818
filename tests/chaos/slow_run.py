"""The slow part: a fleet that is kept busy with long calls while tests/chaos/slow.py does its faults one by one."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from time import monotonic, time

import aiohttp

from tests.chaos.calls import History
from tests.chaos.clients import Clients, Seen
from tests.chaos.deployment import Deployment, open_deployment
from tests.chaos.outcome import Outcome, judged, p95
from tests.chaos.plan import Plan
from tests.chaos.slow import SlowFaults, open_slow_faults
from tests.support.receiver import receive
from tests.support.tenants import Tenant

# Besides long calls, of which most are: short ones, and such as fail by their script.
_SHORT_MODELS = ("ok:0.3", "flaky:1", "invalid", "rate-limited-once:1")
_SHORT_SHARE = 0.2
_MAX_ATTEMPTS = 5
# What is under way when the last fault is over ends within this, or is lost: retries may wait for minutes.
_END_SECONDS = 120.0


async def run_slow(plan: Plan, names: Sequence[str]) -> Outcome:
    """The named faults, each once; then judges."""
    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(open_deployment(plan))
        first, second, third = await deployment.tenants(3)
        receiver = await stack.enter_async_context(receive(first.webhook_secret))
        other = await stack.enter_async_context(receive(second.webhook_secret))
        draw = random.Random(plan.seed)
        crowds = [
            # One is called back by each job's own URL, one by an endpoint of its own.
            Clients(deployment.urls, first.authorization, draw, {"webhook": {"url": receiver.url}}, "own"),
            Clients(deployment.urls, second.authorization, draw, name="endpoint"),
        ]
        crowd = Clients(deployment.urls, third.authorization, draw, name="crowd")
        faults = await stack.enter_async_context(open_slow_faults(plan, deployment, crowd))
        deployment.start()
        await deployment.ready()
        other.secret = await _register(deployment, second, other.url)
        started, began = time(), monotonic()
        still = await _attack(plan, crowds, faults, draw, names)
        await _all_ended(crowd)
        verdict = await judged(
            deployment, [*crowds, crowd], [receiver, other], faults.outages, started=started, max_attempts=_MAX_ATTEMPTS
        )
        verdict.stood_still += faults.stood_still
        verdict.lost += still
        await deployment.fleet.stop()
        seen = [*crowds[0].seen, *crowds[1].seen]
        title = f"slow: {len(seen)} jobs in {monotonic() - began:.0f} s under {len(names)} faults (seed {plan.seed})"
        return Outcome(title, verdict, _table(faults, deployment, seen, started), deployment.fleet.unclean)


async def _attack(
    plan: Plan, crowds: Sequence[Clients], faults: SlowFaults, draw: random.Random, names: Sequence[str]
) -> list[str]:
    """Returns what had not ended long after the last fault."""

    def model() -> str:
        if draw.random() < _SHORT_SHARE:
            return draw.choice(_SHORT_MODELS)
        return f"ok:{draw.uniform(*plan.call_seconds):.1f}"

    stop = asyncio.Event()
    share = plan.in_flight // len(crowds)
    busy = asyncio.gather(*(each.keep_busy(model, concurrency=share, stop=stop) for each in crowds))
    try:
        # Calls of every age are under way before the first fault.
        await asyncio.sleep(min(plan.call_seconds[0] / 2, 4.0))
        await faults.run(list(names))
        await asyncio.sleep(plan.gap_seconds[0])
    finally:
        stop.set()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await busy
    except TimeoutError:
        return [f"{_END_SECONDS:g} s after the last fault: {len(_open(crowds))} jobs had not ended"]
    return []


def _open(crowds: Sequence[Clients]) -> list[Seen]:
    return [seen for crowd in crowds for seen in crowd.seen if not seen.ended]


async def _all_ended(crowd: Clients) -> None:
    """Those that a fault submitted: nobody follows them."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            while any(not each.ended for each in crowd.seen):
                await crowd.read_again()


async def _register(deployment: Deployment, tenant: Tenant, url: str) -> str:
    events = ["job.succeeded", "job.failed", "job.cancelled", "job.expired"]
    body = {"name": "chaos", "url": url, "event_types": events}
    async with (
        aiohttp.ClientSession(headers=tenant.authorization) as http,
        http.post(f"{deployment.urls[0]}/v1/webhook_endpoints", json=body) as answer,
    ):
        return str((await answer.json())["signing_secret"])


def _table(faults: SlowFaults, deployment: Deployment, seen: Sequence[Seen], started: float) -> list[str]:
    """One line a fault: when, what went wrong in calls that overlap it, and what its neighbours felt."""
    history = History(deployment.provider.calls, deployment.fleet.gone, faults.outages, started, _MAX_ATTEMPTS)
    head = f"{'fault':44} {'from':>6} {'to':>6} {'jobs':>6} {'repeated':>9} {'failed':>7}"
    lines = [f"{head} {'first call p95/max':>19} {'end seen p95/max':>17}"]
    for each in faults.outages:
        here = [
            job
            for job in seen
            if job.accepted_at is not None and job.accepted_at <= each.end and (job.ended_at or each.end) >= each.start
        ]
        repeated = sum(bool(history.repeated(job.job_id or "")) for job in here)
        failed = sum(
            history.failed_by_outage(job, job.answers[-1][1], job.error_code)
            for job in here
            if job.answers and job.ended
        )
        waits = [
            history.by_job[job.job_id][0].arrived_at - job.accepted_at
            for job in seen
            if job.job_id in history.by_job and job.accepted_at and each.start <= job.accepted_at <= each.end
        ]
        ends = [
            job.ended_at - last
            for job in seen
            if job.ended_at is not None
            and (calls := history.by_job.get(job.job_id or ""))
            and (last := calls[-1].ended_at) is not None
            and each.start <= last <= each.end
        ]
        name = each.name + (f" ({each.note})" if each.note else "")
        lines.append(
            f"{name:44} {each.start - started:6.1f} {each.end - started:6.1f} {len(here):6} {repeated:9} {failed:7}"
            f" {_shown(waits):>19} {_shown(ends):>17}"
        )
    return [*lines, *(f"skipped: {each}" for each in faults.skipped)]


def _shown(seconds: list[float]) -> str:
    return f"{p95(seconds):.1f}/{max(seconds):.1f} s" if seconds else "–"
