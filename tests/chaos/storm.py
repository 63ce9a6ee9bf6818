"""The storm: thousands of short jobs while processes die and networks break (tests/chaos/faults.py)."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack, suppress
from time import monotonic, time

from tests.chaos.clients import Clients
from tests.chaos.deployment import open_deployment
from tests.chaos.faults import Faults
from tests.chaos.outcome import Outcome, judged
from tests.chaos.plan import Plan
from tests.support.receiver import receive

# How often the provider does what with a job.
_MODELS = {
    "ok": 30, "ok:0.05": 20, "ok:0.3": 15, "ok:2": 12, "ok:6": 4, "flaky:1": 8, "flaky:9": 3, "invalid": 4,
    "rate-limited-once:1": 4,
}  # fmt: skip
_LONG_MODELS = {"ok:2": 1, "ok:6": 1}
_MAX_ATTEMPTS = 4
_LIMIT_SECONDS = 280.0


async def run_storm(plan: Plan) -> Outcome:
    """Attacks until every client has seen its job's end, then judges."""
    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(open_deployment(plan))
        (tenant,) = await deployment.tenants(1)
        receiver = await stack.enter_async_context(receive(tenant.webhook_secret))
        deployment.start()
        started, began = time(), monotonic()
        faults = Faults(
            plan.seed,
            deployment.fleet,
            deployment.valkey,
            deployment.postgres,
            deployment.redis,
            deployment.owner_url,
            plan.lease_seconds + 1.5,
            kills_only=plan.kills is not None,
        )
        draw = random.Random(plan.seed)
        body = {"max_attempts": _MAX_ATTEMPTS, "timeout_seconds": 30, "webhook": {"url": receiver.url}}
        clients = Clients(deployment.urls, tenant.authorization, draw, body)
        kinds = _MODELS if plan.kills is None else _LONG_MODELS
        models = draw.choices([_scaled(name, plan.call_scale) for name in kinds], [*kinds.values()], k=plan.jobs)
        await _attack(plan, clients, faults, models)
        verdict = await judged(
            deployment, [clients], [receiver], faults.outages, started=started, max_attempts=_MAX_ATTEMPTS
        )
        seconds = monotonic() - began
        await deployment.fleet.stop()
        title = f"storm: {plan.jobs} jobs in {seconds:.0f} s under {len(faults.done)} faults (seed {plan.seed})"
        kills = len(deployment.fleet.kills)
        late = sum(seen.job_id is None for seen in clients.seen)
        missed = [f"{late} jobs were not submitted within {_LIMIT_SECONDS:g} s"] if late else []
        return Outcome(
            title,
            verdict,
            [f"{count:3d} × {name}" for name, count in sorted(Counter(faults.done).items())],
            missed
            + deployment.fleet.unclean
            + ([f"{kills} of {plan.kills} kills"] if kills < (plan.kills or 0) else []),
        )


def _scaled(model: str, scale: float) -> str:
    name, _, argument = model.partition(":")
    return f"ok:{float(argument) * scale:g}" if name == "ok" and argument else model


async def _attack(plan: Plan, clients: Clients, faults: Faults, models: list[str]) -> None:
    stop = asyncio.Event()
    at_most = plan.faults if plan.kills is None else plan.kills
    attacking = asyncio.create_task(faults.run(stop, every=plan.every, at_most=at_most))
    try:
        # What has not ended by then is lost, and judged as such.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LIMIT_SECONDS):
                await clients.run(models, cancel_share=0.05, concurrency=plan.concurrency)
    finally:
        stop.set()
        await attacking
