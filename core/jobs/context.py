"""What the use cases of core/jobs are handed: made by core/runtime.py, once per process."""

from dataclasses import dataclass

from core.db.engine import Database
from core.db.sealed import Sealer
from core.domain.clock import Clock
from core.jobs.group_commit import GroupCommit
from core.jobs.heartbeat import Leases
from core.jobs.spool import Spool
from core.providers.catalogue import Catalogue
from core.queue.enqueue import Enqueuer
from core.routing.router import Router
from core.settings import JobSettings


@dataclass(frozen=True, slots=True)
class JobContext:
    """For submitting, reading and changing jobs: the API's side."""

    database: Database
    group_commit: GroupCommit
    enqueuer: Enqueuer
    sealer: Sealer
    catalogue: Catalogue
    clock: Clock
    settings: JobSettings


@dataclass(frozen=True, slots=True)
class RunContext(JobContext):
    """For running them: the worker's side."""

    leases: Leases
    router: Router
    spool: Spool
