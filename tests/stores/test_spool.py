"""An answer that PostgreSQL can't take yet: kept sealed for its own job, and never a reason to fail."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from pydantic import SecretStr

from core.domain import transitions
from core.domain.ids import TenantId, new_job_id, new_uuid
from core.domain.inference import Usage
from core.domain.job_state import JobState
from core.domain.run_again import DONE
from core.jobs.cancel import cancel_jobs
from core.jobs.finish import finish_job
from core.jobs.records import ClaimedJob
from core.jobs.spool import Spool
from core.queue.connect import connect
from core.queue.keys import Keys
from core.runtime import ApiRuntime, WorkerRuntime, open_worker
from core.settings import RedisSettings
from tests.conftest import MakeSettings, OwnerPool
from tests.support import jobs
from tests.support.tenants import Tenant
from tests.support.waiting import eventually

ANSWER = jobs.answer("an answer", usage=Usage(input_tokens=1, cached_tokens=2))


@pytest.fixture
async def sealed(make_settings: MakeSettings) -> AsyncIterator[WorkerRuntime]:
    """A worker with a master key."""
    async with AsyncExitStack() as stack:
        key = base64.b64encode(bytes(range(32))).decode()
        yield await stack.enter_async_context(open_worker(make_settings(master_key=key)))


async def test_an_answer_comes_back_as_it_was(worker_runtime: WorkerRuntime, claimed: ClaimedJob) -> None:
    spool = worker_runtime.jobs.spool
    assert await spool.take(claimed) is None

    await spool.put(claimed, ANSWER)
    assert await spool.take(claimed) == ANSWER
    # Whoever runs the job next may die too: it stays until it is stored.
    assert await spool.take(claimed) == ANSWER

    await spool.discard(claimed)
    assert await spool.take(claimed) is None


async def test_it_does_not_stay_for_ever(worker_runtime: WorkerRuntime, claimed: ClaimedJob) -> None:
    await worker_runtime.jobs.spool.put(claimed, ANSWER)

    assert 3500 < await worker_runtime.redis.ttl(worker_runtime.keys.spool(claimed.id)) <= 3600


async def test_it_is_sealed_and_opens_for_its_own_job_alone(claimed: ClaimedJob, sealed: WorkerRuntime) -> None:
    spool = sealed.jobs.spool
    await spool.put(claimed, ANSWER)
    record = await sealed.redis.get(sealed.keys.spool(claimed.id))

    assert b"an answer" not in record
    assert await spool.take(claimed) == ANSWER
    assert await spool.take(replace(claimed, tenant_id=TenantId(new_uuid()))) is None
    other = replace(claimed, id=new_job_id())
    await sealed.redis.set(sealed.keys.spool(other.id), record, ex=60)
    assert await spool.take(other) is None


@pytest.mark.parametrize(
    "record",
    [b"", b"\x00", b"\x00{}", b"\x00[]", b"\x00null", b'\x00{"text": "x"}', b"\x01short", b"junk", b'\x00{"usage": 1}'],
)
async def test_what_can_not_be_read_is_not_there(
    worker_runtime: WorkerRuntime, claimed: ClaimedJob, record: bytes
) -> None:
    await worker_runtime.redis.set(worker_runtime.keys.spool(claimed.id), record, ex=60)

    assert await worker_runtime.jobs.spool.take(claimed) is None


async def test_without_redis_nothing_is_kept_and_nothing_fails(
    worker_runtime: WorkerRuntime, claimed: ClaimedJob
) -> None:
    nowhere = connect(RedisSettings(url=SecretStr("redis://127.0.0.1:1/0")))
    spool = Spool(nowhere, Keys("nowhere"), worker_runtime.jobs.sealer)

    await spool.put(claimed, ANSWER)
    assert await spool.take(claimed) is None
    await spool.discard(claimed)
    await nowhere.aclose(close_connection_pool=True)


async def test_an_answer_is_spooled_while_its_write_waits_and_dropped_once_it_is_stored(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, claimed: ClaimedJob, tenant: Tenant, owner: OwnerPool
) -> None:
    import asyncio

    async with owner.acquire() as connection:
        lock = connection.transaction()
        await lock.start()
        await connection.execute("SELECT FROM jobs WHERE id = $1 FOR UPDATE", claimed.id)
        finishing = asyncio.create_task(finish_job(worker_runtime.jobs, claimed, transitions.succeed(ANSWER)))
        kept = await eventually(lambda: worker_runtime.jobs.spool.take(claimed), what="the answer is in safety")
        assert kept == ANSWER
        assert not finishing.done()
        await lock.rollback()
    await finishing

    job = await api_runtime.jobs.group_commit.read(claimed.id, tenant.id)
    assert job is not None
    assert job.state is JobState.SUCCEEDED
    assert await worker_runtime.jobs.spool.take(claimed) is None


async def test_an_answer_that_postgresql_refuses_fails_the_job_and_says_so(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, claimed: ClaimedJob, tenant: Tenant
) -> None:
    unstorable = jobs.answer(provider_request_id="a\x00b")

    assert await finish_job(worker_runtime.jobs, claimed, transitions.succeed(unstorable)) == DONE

    job = await api_runtime.jobs.group_commit.read(claimed.id, tenant.id)
    assert job is not None
    assert (job.state, job.error_code, job.output) == (JobState.FAILED, "answer_not_storable", None)
    assert job.attempts[0].outcome == "failed"


async def test_a_run_that_was_superseded_keeps_nothing(
    api_runtime: ApiRuntime, worker_runtime: WorkerRuntime, claimed: ClaimedJob, tenant: Tenant
) -> None:
    await cancel_jobs(api_runtime.jobs, tenant.id, [claimed.id])

    assert await finish_job(worker_runtime.jobs, claimed, transitions.succeed(ANSWER)) == DONE
    assert await worker_runtime.jobs.spool.take(claimed) is None
