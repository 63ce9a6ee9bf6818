"""Enqueueing when Redis is not there: a submit neither fails nor waits, and the next ones are spared the attempt."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from redis.asyncio import Redis

from core.domain.ids import new_job_id
from core.observability.metrics import REGISTRY
from core.queue.enqueue import Enqueuer, job_entry, open_enqueuer
from core.queue.keys import Keys, Lane
from core.runtime import ApiRuntime, open_api
from core.settings import Settings
from tests.queue.lanes import connected, open_lanes
from tests.queue.own_valkey import OwnValkey, on_valkey
from tests.support.jobs import submit
from tests.support.tenants import Tenant
from tests.support.waiting import eventually


def enqueued(outcome: str) -> float:
    return REGISTRY.get_sample_value("inferd_enqueued_total", {"outcome": outcome}) or 0.0


@asynccontextmanager
async def open_enqueuer_to(url: str, keys: Keys, seconds: float = 0.05) -> AsyncIterator[Enqueuer]:
    async with connected(url) as redis:
        enqueuer = open_enqueuer(redis, keys, seconds)
        yield enqueuer
        await enqueuer.aclose()


async def broken(enqueuer: Enqueuer) -> None:
    """Enqueues, and waits until that has failed."""
    failed = enqueued("failed")
    enqueuer.enqueue(job_entry(new_job_id(), Lane.STANDARD))
    await eventually(lambda: enqueued("failed") > failed, what="the enqueue fails")


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """A server that takes everything and answers nothing, ever."""
    talking: set[asyncio.StreamWriter] = set()

    async def swallow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(writer)

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    server.close()
    for writer in talking:
        writer.close()


@pytest.fixture
async def runtime(valkey: OwnValkey, settings: Settings, stack: AsyncExitStack) -> ApiRuntime:
    """An API whose enqueue would wait for its Redis for longer than any test."""
    return await stack.enter_async_context(open_api(on_valkey(settings, valkey, enqueue_timeout_seconds=5)))


@pytest.mark.untidy
async def test_a_submit_does_not_wait_for_a_redis_that_hangs(
    runtime: ApiRuntime, valkey: OwnValkey, tenant: Tenant
) -> None:
    """F6, F10: every submit is answered while the first enqueue is still waiting."""
    valkey.pause()
    jobs = [await submit(runtime.jobs, tenant.id) for _ in range(20)]
    flush = runtime.jobs.enqueuer._flush
    assert flush is not None
    assert not flush.done()
    valkey.resume()
    await asyncio.wait_for(flush, 10)
    assert await runtime.redis.zcard(runtime.keys.lane(Lane.STANDARD)) == len(jobs)


@pytest.mark.untidy
async def test_a_submit_succeeds_when_redis_is_down(runtime: ApiRuntime, valkey: OwnValkey, tenant: Tenant) -> None:
    failed = enqueued("failed")
    await valkey.kill()
    job = await submit(runtime.jobs, tenant.id)
    assert await runtime.jobs.group_commit.read(job.id, tenant.id) is not None
    await eventually(lambda: enqueued("failed") > failed)


async def fill(client: Redis) -> None:
    await client.config_set("maxmemory", 1)


async def demote(client: Redis) -> None:
    await client.replicaof("127.0.0.1", "1")


@pytest.mark.untidy
@pytest.mark.parametrize("refuse_writes", [fill, demote])
async def test_a_submit_succeeds_when_redis_takes_no_writes(
    runtime: ApiRuntime, valkey: OwnValkey, tenant: Tenant, refuse_writes: Callable[[Redis], Awaitable[None]]
) -> None:
    """F38: full, or a replica after a failover."""
    async with valkey.client() as client:
        await refuse_writes(client)
    failed = enqueued("failed")
    await submit(runtime.jobs, tenant.id)
    await eventually(lambda: enqueued("failed") > failed)


async def test_after_a_failure_enqueues_are_skipped_and_then_tried_again(valkey: OwnValkey, keys: Keys) -> None:
    async with open_enqueuer_to(valkey.url, keys) as enqueuer, open_lanes(valkey.url, keys) as lanes:
        await valkey.kill()
        await broken(enqueuer)
        failed, skipped = enqueued("failed"), enqueued("skipped")
        enqueuer.enqueue(*[job_entry(new_job_id(), Lane.STANDARD) for _ in range(7)])
        await eventually(lambda: enqueued("skipped") == skipped + 7)
        assert enqueued("failed") == failed
        await valkey.start()

        async def heard() -> bool:
            enqueuer.enqueue(job_entry(new_job_id(), Lane.STANDARD))
            return await lanes.count() > 0

        await eventually(heard, what="enqueueing works again")


async def test_a_half_open_connection_is_given_up(keys: Keys) -> None:
    """F10"""
    async with black_hole() as url, open_enqueuer_to(url, keys) as enqueuer:
        await broken(enqueuer)


async def test_what_does_not_fit_is_left_to_the_sweep(valkey: OwnValkey, keys: Keys) -> None:
    async with open_enqueuer_to(valkey.url, keys, seconds=5) as enqueuer, open_lanes(valkey.url, keys) as lanes:
        valkey.pause()
        for _ in range(6):
            enqueuer.enqueue(*[job_entry(new_job_id(), Lane.BATCH) for _ in range(10_000)])
        assert len(enqueuer._pending) == 50_000
        enqueuer._pending.clear()
        valkey.resume()
        assert await lanes.count() == 0


async def test_changes_and_cancels_are_published(valkey: OwnValkey, keys: Keys) -> None:
    async with open_enqueuer_to(valkey.url, keys, seconds=5) as enqueuer, connected(valkey.url) as redis:
        job_id = new_job_id()
        async with redis.pubsub() as pubsub:
            await pubsub.subscribe(keys.cancelled, keys.changed)
            for _ in range(2):
                await pubsub.get_message(timeout=10)
            enqueuer.publish_cancel(job_id)
            messages = [await pubsub.get_message(timeout=10) for _ in range(2)]
        member = f"job_{job_id.hex}".encode()
        assert [(message["channel"].decode(), message["data"]) for message in messages] == [
            (keys.cancelled, member),
            (keys.changed, member),
        ]
