"""The proofs at full size: `python -m tests.webhooks.chaos`, or `make chaos-webhooks`. Ends with 1 on a missed target."""

import argparse
import asyncio
import random
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

from core.db import migrate
from core.settings import Settings
from local.embedded.reset import reset
from local.embedded.supervisor import run_embedded
from tests.chaos.fleet import Fleet
from tests.queue.own_valkey import OwnValkey, open_valkey
from tests.support.explicit_settings import ExplicitSettings
from tests.support.folders import open_folder
from tests.support.servers import owner_url
from tests.webhooks.chaos.crowd import open_crowd
from tests.webhooks.chaos.deployment import WEBHOOK, WORKER, open_deployment
from tests.webhooks.chaos.proofs import (
    FAULTS,
    Attack,
    StoreFault,
    Verdict,
    crash_postgres,
    prove_a_drain_keeps_its_rate,
    prove_nothing_is_lost,
    prove_the_dead_delay_nobody,
)


async def run(events: int, seed: int, logs: Path | None, wanted: set[str]) -> list[Verdict]:
    """One proof after the other, on one database."""
    verdicts = []
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(open_folder())
        stack.callback(reset, folder / "data")
        embedded = await stack.enter_async_context(run_embedded(folder / "data", with_model=False, with_valkey=False))
        valkey = await stack.enter_async_context(open_valkey())
        settings = _settings(embedded.database_url, embedded.owner_url, valkey.url)
        await migrate.upgrade(settings.database)
        deployment = await stack.enter_async_context(open_deployment(settings, logs or folder, workers=2))
        owner = owner_url(settings.database)
        if "isolation" in wanted:
            async with open_crowd(seed) as crowd:
                hosts = [f"127.0.1.{number}" for number in range(1, 21)]
                verdicts.append(await prove_the_dead_delay_nobody(deployment, crowd, hosts=hosts, seconds=8.0))
                _print(verdicts[-1])
        if "drain" in wanted:
            async with open_crowd(seed) as crowd:
                await crowd.open("127.0.2.1")
                drained = prove_a_drain_keeps_its_rate(
                    deployment, crowd, events=events, host="127.0.2.2", per_second=400
                )
                verdicts.append(await drained)
                _print(verdicts[-1])
        if "faults" in wanted:
            async with open_crowd(seed, FAULTS) as crowd:
                attack = Attack(deployment, seed, 60.0, (1.5, 3.0), _store_faults(valkey, owner))
                hosts = [f"127.0.3.{number}" for number in range(1, 11)]
                proof = prove_nothing_is_lost(deployment, crowd, events=events, hosts=hosts, seed=seed, attack=attack)
                verdicts.append(await proof)
                _print(verdicts[-1])
        _tidy(deployment.fleet)
    return verdicts


def _store_faults(valkey: OwnValkey, owner: str) -> list[StoreFault]:
    async def flush() -> None:
        async with valkey.client() as client:
            await client.flushall()

    async def crash() -> None:
        await crash_postgres(owner)

    return [
        (0.15, "FLUSHALL", flush),
        (0.35, "PostgreSQL crash and recovery", crash),
        (0.55, "FLUSHALL", flush),
        (0.75, "PostgreSQL crash and recovery", crash),
    ]


def _settings(database_url: str | None, owner: str | None, redis_url: str) -> Settings:
    return ExplicitSettings(
        database={"url": database_url, "owner_url": owner},
        redis={"url": redis_url},
        worker=WORKER,
        webhook=WEBHOOK,
        log={"level": "warning"},
    )


def _print(verdict: Verdict) -> None:
    marks = {True: "ok   ", False: "MISS ", None: "     "}
    print(f"\n{verdict.title}")
    for line in verdict.lines:
        print(f"  {marks[line.met]}{line.name}: {line.value}")
    sys.stdout.flush()


def _tidy(fleet: Fleet) -> None:
    for each in fleet.unclean:
        print(f"  {each}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.webhooks.chaos")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--logs", type=Path, help="a folder that exists, to keep the processes' logs in")
    parser.add_argument("--only", nargs="+", choices=("isolation", "drain", "faults"), default=None)
    arguments = parser.parse_args()
    started = monotonic()
    print(f"seed {arguments.seed}", flush=True)
    wanted = set(arguments.only or ("isolation", "drain", "faults"))
    verdicts = asyncio.run(run(arguments.events, arguments.seed, arguments.logs, wanted))
    met = all(verdict.met for verdict in verdicts)
    print(f"\n{'every target is met' if met else 'A TARGET IS MISSED'}, {monotonic() - started:.0f} s")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
