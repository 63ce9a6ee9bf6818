"""How much, how bad and how long a run of chaos is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """The defaults are those of `make chaos`; the suite's runs are smaller, with shorter leases."""

    seed: int
    jobs: int = 3000
    every: tuple[float, float] = (0.5, 2.0)
    concurrency: int = 200
    workers: int = 3
    apis: int = 2
    lease_seconds: float = 8.0
    heartbeat_seconds: float = 2.0
    sweep_seconds: float = 3.0
    statement_seconds: float = 15.0
    # A delivery that a killed worker was making is tried again when it must be over.
    webhook_seconds: float = 20.0
    logs: Path | None = None
    # Processes are forked, not started anew, and no commit waits for the disk: the suite's runs, for their time.
    quick: bool = False
    # The storm ends after so many faults, if the jobs have not ended before.
    faults: int | None = None
    # Instead of all kinds of faults: so many workers are killed, all with calls in flight.
    kills: int | None = None
    # The storm's calls take so many times what their names say.
    call_scale: float = 1.0
    # Of the slow faults: how long PostgreSQL stands still, a lock is held, and a provider or Redis is away.
    stall_seconds: tuple[float, float] = (10.0, 30.0)
    stalls: int = 2
    lock_seconds: float = 12.0
    provider_seconds: float = 20.0
    redis_seconds: float = 15.0
    # How many jobs are under way during slow faults, how long their calls take, and the pause between two faults.
    in_flight: int = 120
    call_seconds: tuple[float, float] = (5.0, 25.0)
    gap_seconds: tuple[float, float] = (1.0, 3.0)
    # How many jobs fill a Redis that has memory for a tenth of them.
    backlog: int = 1500
    # The greedy part: how long the quiet tenant is measured alone and beside, and what the greedy one asks for.
    alone_seconds: float = 15.0
    beside_seconds: float = 15.0
    long_jobs: int = 400
    dead_webhooks: int = 1000
    dead_hosts: int = 100
