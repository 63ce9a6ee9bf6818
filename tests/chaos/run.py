"""A whole run of chaos: `python -m tests.chaos.run --seed 7`, or `make chaos [SEED=n] [FAULTS=storm,pg_stall]`.

Real API, worker, PostgreSQL and Valkey processes, TCP proxies between them, a provider and a receiver on real sockets.
Three parts, each on servers of its own: the storm, the slow faults, and a greedy tenant beside a quiet one. Prints what
was found and ends with 1 when a target is missed. The same, much smaller, is a test (test_short.py).
"""

import argparse
import asyncio
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic

from tests.chaos.greedy import run_greedy
from tests.chaos.outcome import Outcome, report
from tests.chaos.plan import Plan
from tests.chaos.slow import KINDS
from tests.chaos.slow_run import run_slow
from tests.chaos.storm import run_storm

FAULTS = ("storm", *KINDS, "greedy")


async def run(plan: Plan, names: list[str]) -> list[Outcome]:
    """The parts that have one of the named faults; each is printed when it is over."""
    _end_in_order()
    outcomes = []
    slow = [name for name in names if name in KINDS]
    if "storm" in names:
        outcomes.append(_printed(await run_storm(plan)))
    if slow:
        outcomes.append(_printed(await run_slow(plan, slow)))
    if "greedy" in names:
        outcomes.append(_printed(await run_greedy(plan)))
    return outcomes


def _end_in_order() -> None:
    """On SIGTERM as on SIGINT: what was stopped goes on, and what was started is ended."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _printed(outcome: Outcome) -> Outcome:
    print(report(outcome), flush=True)
    return outcome


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in FAULTS]:
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description="Attacks a whole inferd and judges what it did.")
    parser.add_argument("--jobs", type=int, default=Plan.jobs, help="of the storm")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--faults", type=_names, default=list(FAULTS), help=f"some of {','.join(FAULTS)}")
    parser.add_argument("--kills", type=int, help="the storm alone, and in it nothing but so many killed workers")
    parser.add_argument("--logs", type=Path, help="a folder that exists, to keep the processes' logs in")
    arguments = parser.parse_args()
    plan = replace(Plan(arguments.seed), jobs=arguments.jobs, kills=arguments.kills, logs=arguments.logs)
    print(f"seed {plan.seed}", flush=True)
    began = monotonic()
    outcomes = asyncio.run(run(plan, ["storm"] if plan.kills is not None else arguments.faults))
    met = all(outcome.met for outcome in outcomes)
    print(f"seed {plan.seed}, {monotonic() - began:.0f} s: {'every target is met' if met else 'A TARGET IS MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
