"""Copies of runtimes that share connections and nothing else: no batch, no breaker and no lease of another proof."""

from dataclasses import replace

from core.jobs.group_commit import GroupCommit, open_group_commit
from core.jobs.heartbeat import Leases
from core.queue.keys import Keys
from core.queue.ring import Ring, open_ring
from core.runtime import ApiRuntime, WorkerRuntime
from core.webhooks.context import open_deliveries


def fresh_api(runtime: ApiRuntime, keys: Keys | None = None) -> ApiRuntime:
    """`keys` puts it on lanes of its own."""
    keys = keys or runtime.keys
    ring = open_ring(runtime.redis, keys, runtime.settings.redis.ring_timeout_seconds)
    jobs = replace(runtime.jobs, ring=ring, group_commit=_group_commit(runtime, ring, "api"))
    return replace(runtime, keys=keys, jobs=jobs)


def fresh_worker(runtime: WorkerRuntime, keys: Keys | None = None) -> WorkerRuntime:
    """As `fresh_api`."""
    keys, settings = keys or runtime.keys, runtime.settings
    ring = open_ring(runtime.redis, keys, settings.redis.ring_timeout_seconds)
    jobs = replace(
        runtime.jobs,
        ring=ring,
        group_commit=_group_commit(runtime, ring, runtime.worker_id),
        leases=Leases(runtime.database, settings.worker.lease_seconds, settings.worker.heartbeat_seconds),
        spool=replace(runtime.jobs.spool, keys=keys),
    )
    deliveries = open_deliveries(
        runtime.database,
        runtime.deliveries.egress,
        runtime.jobs.sealer,
        runtime.jobs.clock,
        ring,
        settings.webhook,
        worker_id=runtime.worker_id,
    )
    return replace(runtime, keys=keys, jobs=jobs, deliveries=deliveries)


def _group_commit(runtime: ApiRuntime | WorkerRuntime, ring: Ring, worker_id: str) -> GroupCommit:
    return open_group_commit(
        runtime.database,
        runtime.jobs.sealer,
        ring,
        worker_id=worker_id,
        lease_seconds=runtime.settings.worker.lease_seconds,
        key_seconds=3600.0,
    )
