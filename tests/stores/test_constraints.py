"""The rows' own guards: what no code of ours may ever write is refused by PostgreSQL itself."""

import asyncpg
import pytest

from core.db.engine import Database
from core.db.session import hot_transaction
from core.domain.job_state import JobState
from tests.conftest import OwnerPool
from tests.support import jobs
from tests.support.tenants import Tenant

# What is changed in a row that is as it should be → the guard that stands in the way.
FORBIDDEN = {
    "UPDATE jobs SET state = 'paused', lease_token = NULL, worker_id = NULL": "ck_jobs_state",
    "UPDATE tenants SET max_slots = 0": "ck_tenants_max_slots_positive",
    "UPDATE jobs SET priority = 'urgent'": "ck_jobs_priority",
    "UPDATE jobs SET state = 'succeeded', lease_token = NULL, worker_id = NULL":
        "ck_jobs_terminal_has_finished_at",
    "UPDATE jobs SET finished_at = now()": "ck_jobs_terminal_has_finished_at",
    "UPDATE jobs SET lease_token = NULL": "ck_jobs_running_has_worker",
    "UPDATE jobs SET worker_id = NULL": "ck_jobs_running_has_worker",
    "UPDATE jobs SET state = 'queued'": "ck_jobs_running_has_worker",
    "UPDATE jobs SET attempts_used = -1": "ck_jobs_attempts_within_runs",
    "UPDATE jobs SET attempts_used = run_no + 1": "ck_jobs_attempts_within_runs",
    "UPDATE jobs SET state = 'failed', finished_at = now(), lease_token = NULL, worker_id = NULL":
        "ck_jobs_failed_has_error",
    "UPDATE attempts SET outcome = 'lost', finished_at = now()": "ck_attempts_outcome",
    "UPDATE attempts SET outcome = 'failed'": "ck_attempts_closed_has_finished_at",
    "UPDATE attempts SET finished_at = now()": "ck_attempts_closed_has_finished_at",
    "UPDATE attempts SET billed = 'perhaps'": "ck_attempts_billed",
    "UPDATE deliveries SET state = 'sent'": "ck_deliveries_state",
    "UPDATE deliveries SET state = 'delivered'": "ck_deliveries_delivered_has_time",
    "UPDATE deliveries SET delivered_at = now()": "ck_deliveries_delivered_has_time",
    "UPDATE deliveries SET lease_token = gen_random_uuid()": "ck_deliveries_lease_is_whole",
    "UPDATE deliveries SET trigger = 'whim'": "ck_deliveries_trigger",
    "UPDATE delivery_attempts SET trigger = 'whim'": "ck_delivery_attempts_trigger",
    "UPDATE webhook_endpoints SET signature = 'v2'": "ck_webhook_endpoints_signature",
    "UPDATE webhook_endpoints SET enabled = false, disabled_reason = 'whim'": "ck_webhook_endpoints_disabled_reason",
    "UPDATE webhook_endpoints SET disabled_reason = 'gone'": "ck_webhook_endpoints_reason_is_of_disabled",
    "UPDATE webhook_recoveries SET state = 'paused'": "ck_webhook_recoveries_state",
    "UPDATE webhook_recoveries SET state = 'completed'": "ck_webhook_recoveries_completed_has_time",
    "UPDATE webhook_recoveries SET finished_at = now()": "ck_webhook_recoveries_completed_has_time",
}  # fmt: skip


@pytest.fixture(autouse=True)
async def rows_as_they_should_be(fleet: Database, tenant: Tenant, owner: OwnerPool) -> None:
    async with hot_transaction(fleet, None) as connection:
        job_id = await jobs.insert(connection, tenant.id)
        await jobs.claim(connection, [job_id])
    for statement in WEBHOOK_ROWS:
        await owner.execute(statement, job_id, tenant.id)


WEBHOOK_ROWS = [
    "\nINSERT INTO deliveries (id, tenant_id, job_id, event_id, event_type, url, body) VALUES ($1, $2, $1, $1, '', '', '')",
    "\nINSERT INTO delivery_attempts (delivery_id, tenant_id, attempt, trigger, started_at, worker_id)\n    VALUES ($1, $2, 1, 'scheduled', now(), '')",
    "\nINSERT INTO webhook_endpoints (id, tenant_id, name, url, event_types, secret) VALUES ($1, $2, '', '', '{}', '')",
    "\nINSERT INTO webhook_recoveries (id, tenant_id, endpoint_id, since, until, statuses, total)\n    VALUES ($1, $2, $1, now(), now(), '{}', 1)",
    "\n",
][:-1]


@pytest.mark.parametrize(("statement", "guard"), FORBIDDEN.items(), ids=lambda each: each[:60])
async def test_a_row_that_makes_no_sense_is_refused(owner: OwnerPool, statement: str, guard: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await owner.execute(statement)

    assert refused.value.constraint_name == guard


async def test_every_guard_is_tried(owner: OwnerPool) -> None:
    found = await owner.fetch(
        "SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
    )

    assert {row["conname"] for row in found} == set(FORBIDDEN.values())


@pytest.mark.parametrize("state", JobState, ids=lambda state: state.value)
async def test_every_state_has_a_row_that_makes_sense(owner: OwnerPool, state: JobState) -> None:
    assert await owner.execute(jobs.FORCE_STATE, state.value) == "UPDATE 1"


async def test_what_belongs_to_a_job_goes_with_it(owner: OwnerPool, tenant: Tenant) -> None:
    """But for deliveries: what is still to be sent outlives it (tests/webhooks/test_deletion.py)."""
    await owner.execute("DELETE FROM jobs")

    for table in ("attempts", "results", "job_metadata"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_what_belongs_to_a_tenant_goes_with_it(owner: OwnerPool, tenant: Tenant) -> None:
    await owner.execute("DELETE FROM tenants WHERE id = $1", tenant.id)

    for table in ("jobs", "attempts", "deliveries", "api_keys"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_the_databases_own_ids_sort_by_time(owner: OwnerPool) -> None:
    made = [row[0] for row in await owner.fetch("SELECT inferd_uuid7() FROM generate_series(1, 300)")]
    later = await owner.fetchval("SELECT inferd_uuid7() FROM pg_sleep(0.002)")

    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {"specified in RFC 4122"}
    assert len(set(made)) == 300
    assert all(each < later for each in made)
