"""Sends a range of an endpoint's deliveries again, in the background. Started by the routes, carried on by workers.

A recovery is a row: a worker that takes it does the next batch in one transaction and puts it back, so it survives
every crash and any number of workers share the work. The caps of deliveries limit how fast they are sent.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog
from sqlmodel import col, select

from core.db.engine import Database
from core.db.idempotency import Created, IdempotencyKey, hold_key
from core.db.session import hot_transaction, reading, transaction
from core.db.statements import Statement
from core.db.tables import RecoveryRow
from core.domain.errors import Conflict, Gone, NotFound
from core.domain.ids import RECOVERY, DeliveryId, EndpointId, RecoveryId, TenantId, new_uuid, show
from core.queue.enqueue import Enqueuer, delivery_entry
from core.webhooks.deliveries import queries
from core.webhooks.deliveries.records import RecoveryRecord
from core.webhooks.deliveries.store import MOST_ATTEMPTS
from core.webhooks.endpoints.queries import endpoint_row

_BATCH: Final = 1000
# A sweep has other things to do.
_BATCHES_A_SWEEP: Final = 10

RECOVER: Final = Statement("core/webhooks/sql/recover.sql")

log = structlog.get_logger(__name__)


async def start_recovery(
    database: Database,
    tenant_id: TenantId,
    endpoint_id: EndpointId,
    *,
    since: datetime,
    until: datetime,
    statuses: Sequence[str],
    key: IdempotencyKey | None = None,
) -> Created[RecoveryRecord]:
    """Raises NotFound, or Conflict when the endpoint is disabled or is being recovered.

    With a key also as `hold_key`, and Gone when the recovery that it started was deleted.
    """
    recovery_id = RecoveryId(new_uuid())
    async with transaction(database, tenant_id) as session:
        held = RecoveryId(await hold_key(session, tenant_id, key, recovery_id))
        if held == recovery_id:
            endpoint = await endpoint_row(session, tenant_id, endpoint_id, lock=True)
            if not endpoint.enabled:
                raise Conflict("The webhook endpoint is disabled. Enable it first.")
            running = await queries.running_recovery(session, tenant_id, endpoint_id)
            if running is not None:
                raise Conflict(
                    f"{show(RECOVERY, running)} is still running for this endpoint. Wait until it has ended."
                )
            row = RecoveryRow(
                id=recovery_id,
                tenant_id=tenant_id,
                endpoint_id=endpoint_id,
                since=since,
                until=until,
                statuses=list(statuses),
                total=await queries.count_range(session, tenant_id, endpoint_id, since, until, statuses),
                requeued=0,
                state="running",
            )
            session.add(row)
            await session.flush()
            await session.refresh(row)
            return Created(_record(row), replayed=False)
    try:
        return Created(await get_recovery(database, tenant_id, held), replayed=True)
    except NotFound:
        raise Gone("The recovery that this Idempotency-Key started was deleted. Send a new key.") from None


async def get_recovery(database: Database, tenant_id: TenantId, recovery_id: RecoveryId) -> RecoveryRecord:
    """How far it is. Raises NotFound."""
    query = select(RecoveryRow).where(col(RecoveryRow.tenant_id) == tenant_id, col(RecoveryRow.id) == recovery_id)
    async with reading(database, tenant_id) as session:
        row = (await session.exec(query)).first()
    if row is None:
        raise NotFound(f"There is no webhook recovery {show(RECOVERY, recovery_id)}.")
    return _record(row)


async def advance_recoveries(database: Database, enqueuer: Enqueuer) -> int:
    """Carries on with what is running, for some batches. Returns how many those were."""
    for batches in range(_BATCHES_A_SWEEP):
        async with hot_transaction(database, None) as connection:
            row = await RECOVER.fetchrow(connection, page_size=_BATCH, most_attempts=MOST_ATTEMPTS)
        if row is None:
            return batches
        tenant_id = TenantId(row["tenant_id"])
        enqueuer.enqueue(*(delivery_entry(DeliveryId(each), tenant_id) for each in row["delivery_ids"]))
        if row["state"] == "completed":
            log.info("webhook_recovery_completed", recovery_id=show(RECOVERY, row["id"]), requeued=row["requeued"])
    return _BATCHES_A_SWEEP


def _record(row: RecoveryRow) -> RecoveryRecord:
    return RecoveryRecord(
        id=RecoveryId(row.id),
        endpoint_id=EndpointId(row.endpoint_id),
        since=row.since,
        until=row.until,
        statuses=tuple(row.statuses),
        state=row.state,
        total=row.total,
        requeued=row.requeued,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
