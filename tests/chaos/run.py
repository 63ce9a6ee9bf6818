"""A whole run of chaos: `python -m tests.chaos.run --jobs 5000 --seed 7`, or `make chaos [SEED=n]`.

Real API, worker, PostgreSQL and Valkey processes, TCP proxies between them, a provider and a receiver on real sockets.
Prints what was found and ends with 1 when a target is missed. The same with fewer jobs is a test (test_short.py).
"""

import argparse
import asyncio
import random
import statistics
import sys
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.parse import parse_qs, urlsplit

import asyncpg

from cli.processes import free_port
from core.db import migrate
from core.embedded.reset import reset
from core.embedded.supervisor import run_embedded
from core.queue.keys import Keys
from core.runtime import open_operator
from core.settings import DatabaseSettings, Settings
from tests.chaos.clients import Clients
from tests.chaos.faults import Faults
from tests.chaos.fleet import Fleet, Member
from tests.chaos.history import RECOVERY_TARGET_SECONDS, Verdict, judge
from tests.chaos.invariants import left_in_redis
from tests.chaos.proxy import Proxy, open_proxy
from tests.conformance.fake_provider import FakeProvider
from tests.queue.own_valkey import OwnValkey, open_valkey
from tests.support.explicit_settings import ExplicitSettings, environment_of
from tests.support.folders import open_folder
from tests.support.receiver import Received, receive
from tests.support.tenants import make_tenant
from tests.support.waiting import eventually

# What the provider does with a job, and how often. Delays are in seconds.
_MODELS = (
    ("ok", 30), ("ok:0.05", 20), ("ok:0.3", 15), ("ok:2", 12), ("ok:6", 4), ("flaky:1", 8), ("flaky:9", 3),
    ("invalid", 4), ("rate-limited-once:1", 4),
)  # fmt: skip

_LONG_MODELS = (("ok:2", 1), ("ok:6", 1))


@dataclass(frozen=True)
class Plan:
    """How much, how bad, how long."""

    jobs: int
    seed: int
    every: tuple[float, float] = (0.5, 2.0)
    concurrency: int = 200
    workers: int = 3
    apis: int = 2
    lease_seconds: float = 8.0
    heartbeat_seconds: float = 2.0
    sweep_seconds: float = 3.0
    logs: Path | None = None
    # The attack ends after so many faults, if the jobs have not ended before.
    faults: int | None = None
    # Instead of all kinds of faults: so many workers are killed, all with calls in flight.
    kills: int | None = None


@dataclass(frozen=True)
class Outcome:
    verdict: Verdict
    faults: Counter[str]
    kills: int
    seconds: float
    unclean: list[str]
    kills_missing: int

    @property
    def met(self) -> bool:
        return self.verdict.met and not self.unclean and self.kills_missing <= 0


async def run(plan: Plan) -> Outcome:
    """Attacks until every client has seen its job's end, then judges."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(open_folder())
        stack.callback(reset, folder / "data")
        embedded = await stack.enter_async_context(run_embedded(folder / "data", with_model=False, with_valkey=False))
        assert embedded.owner_url is not None
        assert embedded.database_url is not None
        valkey = await stack.enter_async_context(open_valkey())
        postgres_proxy = await stack.enter_async_context(open_proxy(_postgres_socket(embedded.database_url)))
        redis_proxy = await stack.enter_async_context(open_proxy(valkey.folder / "valkey.sock"))
        provider = await stack.enter_async_context(FakeProvider())
        direct = _settings(plan, embedded.database_url, embedded.owner_url, valkey.url, provider.base_url)
        await migrate.upgrade(direct.database)
        async with open_operator(direct) as operator:
            tenant = await make_tenant(operator)
        receiver = await stack.enter_async_context(receive(tenant.webhook_secret))
        fleet = _fleet(plan, direct, postgres_proxy, redis_proxy, plan.logs or folder)
        stack.push_async_callback(fleet.stop)
        fleet.start()
        started = monotonic()
        faults = Faults(
            plan.seed,
            fleet,
            valkey,
            postgres_proxy,
            redis_proxy,
            embedded.owner_url,
            plan.lease_seconds + 1.5,
            kills_only=plan.kills is not None,
        )
        draw = random.Random(plan.seed)
        clients = Clients(
            [f"http://127.0.0.1:{member.environment['INFERD_API_PORT']}" for member in fleet.apis],
            tenant.authorization["authorization"],
            receiver.url,
            draw,
        )
        kinds = _MODELS if plan.kills is None else _LONG_MODELS
        models = draw.choices([name for name, _ in kinds], [weight for _, weight in kinds], k=plan.jobs)
        await _attack(plan, clients, faults, models)
        verdict = await _judged(embedded.owner_url, clients, provider, receiver.received, faults)
        verdict.untidy += await _left(valkey, Keys(direct.redis.prefix))
        seconds = monotonic() - started
        await fleet.stop()
        return Outcome(
            verdict,
            Counter(faults.done),
            len(fleet.kills),
            seconds,
            fleet.unclean,
            kills_missing=(plan.kills or 0) - len(fleet.kills),
        )


async def _attack(plan: Plan, clients: Clients, faults: Faults, models: list[str]) -> None:
    stop = asyncio.Event()
    at_most = plan.faults if plan.kills is None else plan.kills
    attacking = asyncio.create_task(faults.run(stop, every=plan.every, at_most=at_most))
    try:
        async with asyncio.timeout(280):
            await clients.run(models, cancel_share=0.05, concurrency=plan.concurrency)
    finally:
        stop.set()
        await attacking


async def _judged(
    owner_url: str, clients: Clients, provider: FakeProvider, received: list[Received], faults: Faults
) -> Verdict:
    owner = await asyncpg.connect(owner_url, server_settings={"app.fleet": "on"})
    try:

        async def settled() -> bool:
            waiting = "SELECT count(*) FROM deliveries WHERE state = 'pending'"
            return bool(await owner.fetchval(waiting) == 0)

        await eventually(settled, seconds=60, what="every webhook is delivered")
        await clients.read_again()
        return await judge(
            owner,
            seen=clients.seen,
            calls=provider.calls,
            received=received,
            kills=faults.fleet.kills,
            outages=faults.outages,
        )
    finally:
        await owner.close()


async def _left(valkey: OwnValkey, keys: Keys) -> list[str]:
    """What is still in Redis when all jobs have ended, in words. A worker tells Redis after PostgreSQL."""
    async with valkey.client() as redis:
        left = await left_in_redis(redis, keys)
        for _ in range(50):
            if left:
                await asyncio.sleep(0.1)
                left = await left_in_redis(redis, keys)
        return [f"{count} {name} left in Redis" for name, count in left.items()]


def _settings(plan: Plan, database_url: str, owner_url: str, redis_url: str, provider_url: str) -> Settings:
    return ExplicitSettings(
        database=DatabaseSettings.model_validate({"url": database_url, "owner_url": owner_url}),
        redis={"url": redis_url},
        worker={
            "lease_seconds": plan.lease_seconds,
            "heartbeat_seconds": plan.heartbeat_seconds,
            "sweep_seconds": plan.sweep_seconds,
            "drain_seconds": 1.0,
        },
        webhook={"allow_http": True, "allow_cidrs": ["127.0.0.0/8"]},
        providers={"chaos": {"base_url": provider_url}},
    )


def _fleet(plan: Plan, direct: Settings, postgres: Proxy, redis: Proxy, folder: Path) -> Fleet:
    """Every process reaches its stores through the proxies only."""
    url = urlsplit(direct.database.url.get_secret_value())
    through = {
        "INFERD_DATABASE_URL": f"postgresql://{url.username}@127.0.0.1:{postgres.port}{url.path}",
        "INFERD_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
    }
    environment = environment_of(direct) | through
    environment.pop("INFERD_DATABASE_OWNER_URL", None)

    def member(name: str, module: str, **more: str) -> Member:
        return Member(name, module, environment | more, folder / f"{name}.log")

    return Fleet(
        apis=[
            member(f"api-{index}", "api.main", INFERD_API_PORT=str(free_port("127.0.0.1")))
            for index in range(plan.apis)
        ],
        workers=[member(f"worker-{index}", "worker.main") for index in range(plan.workers)],
    )


def _postgres_socket(url: str) -> Path:
    """The socket that libpq's `?host=/folder&port=n` means."""
    query = parse_qs(urlsplit(url).query)
    return Path(query["host"][0]) / f".s.PGSQL.{query.get('port', ['5432'])[0]}"


def report(plan: Plan, outcome: Outcome) -> str:
    """What `make chaos` prints."""
    verdict = outcome.verdict
    times = verdict.recoveries
    lines = [
        f"seed {plan.seed}: {plan.jobs} jobs in {outcome.seconds:.0f} s under {sum(outcome.faults.values())} faults",
        *(f"  {count:3d} × {name}" for name, count in sorted(outcome.faults.items())),
        f"ended: {', '.join(f'{state} {count}' for state, count in sorted(verdict.states.items()))}",
        _line("lost", verdict.lost),
        _line("doubly finished", verdict.doubly_finished),
        _line("wrong state shown", verdict.wrong_state),
        _line("extra provider calls without a lost worker", verdict.extra_calls),
        f"extra provider calls of lost workers (allowed): {verdict.allowed_calls}",
        f"webhooks sent again with the same id (allowed): {verdict.duplicate_webhooks}",
        _line("left untidy", verdict.untidy),
        _line("unclean ends", outcome.unclean),
        *([f"{outcome.kills_missing} kills are missing"] if outcome.kills_missing > 0 else []),
        f"recovery of {len(times)} jobs of {outcome.kills} killed workers: {_times(times)}",
        "every target is met" if outcome.met else "A TARGET IS MISSED",
    ]
    return "\n".join(lines)


def _times(seconds: list[float]) -> str:
    p50, p99 = (statistics.quantiles(seconds, n=100)[index] if len(seconds) > 1 else sum(seconds) for index in (49, 98))
    return f"p50 {p50:.1f} s, p99 {p99:.1f} s, max {max(seconds, default=0.0):.1f} s (target {RECOVERY_TARGET_SECONDS:g} s)"


def _line(name: str, found: list[str]) -> str:
    return f"{name}: {len(found)}" + "".join(f"\n    {each}" for each in found[:5])


def main() -> int:
    parser = argparse.ArgumentParser(description="Attacks a whole inferd and judges what it did.")
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--kills", type=int, help="instead of every kind of fault, kill so many workers")
    parser.add_argument("--logs", type=Path, help="a folder that exists, to keep the processes' logs in")
    arguments = parser.parse_args()
    plan = Plan(arguments.jobs, arguments.seed, kills=arguments.kills, logs=arguments.logs)
    print(f"seed {plan.seed}", flush=True)
    outcome = asyncio.run(run(plan))
    print(report(plan, outcome))
    return 0 if outcome.met else 1


if __name__ == "__main__":
    sys.exit(main())
