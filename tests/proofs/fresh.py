"""Copies of runtimes that share connections and nothing else: no batch, no breaker and no lease of another proof."""

from collections.abc import Callable
from dataclasses import replace

from core.jobs.group_commit import GroupCommit
from core.jobs.heartbeat import Leases
from core.jobs.worker_lease import WorkerLease
from core.queue.enqueue import Enqueuer, open_enqueuer
from core.queue.keys import Keys
from core.runtime import ApiRuntime, WorkerRuntime


def fresh_api(runtime: ApiRuntime, keys: Keys | None = None) -> ApiRuntime:
    """`keys` puts it on lanes of its own."""
    keys = keys or runtime.keys
    enqueuer = open_enqueuer(runtime.redis, keys, runtime.settings.redis.enqueue_timeout_seconds)
    jobs = replace(runtime.jobs, enqueuer=enqueuer, group_commit=_group_commit(runtime, enqueuer, lambda: ""))
    return replace(runtime, keys=keys, jobs=jobs)


def fresh_worker(runtime: WorkerRuntime, keys: Keys | None = None, lease: WorkerLease | None = None) -> WorkerRuntime:
    """As `fresh_api`; under the lease of `runtime`, or one of its own."""
    lease = lease or runtime.jobs.leases.worker
    keys, settings = keys or runtime.keys, runtime.settings
    enqueuer = open_enqueuer(runtime.redis, keys, settings.redis.enqueue_timeout_seconds)
    jobs = replace(
        runtime.jobs,
        enqueuer=enqueuer,
        group_commit=_group_commit(runtime, enqueuer, lambda: lease.id),
        leases=Leases(runtime.database, lease),
        spool=replace(runtime.jobs.spool, keys=keys),
    )
    deliveries = replace(runtime.deliveries, enqueuer=enqueuer, worker_id=lease.name)
    return replace(runtime, keys=keys, jobs=jobs, deliveries=deliveries)


def _group_commit(runtime: ApiRuntime | WorkerRuntime, enqueuer: Enqueuer, claimant: Callable[[], str]) -> GroupCommit:
    return GroupCommit(
        runtime.database,
        runtime.jobs.sealer,
        enqueuer,
        claimant=claimant,
        key_seconds=3600.0,
    )
