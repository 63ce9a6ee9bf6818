"""The tables, one file for each group. Importing this package fills the metadata that Alembic compares.

A table is not a border: SQLModel table classes do not validate. Schemas guard the edge, CHECKs guard the rows.
Every index starts with tenant_id or serves a fleet-wide sweep, and says which query it is for.
"""

from sqlalchemy import MetaData
from sqlmodel import SQLModel

from core.db.columns import NAMING

SQLModel.metadata.naming_convention = NAMING

from core.db.tables.access import ApiKeyRow, TenantRow  # noqa: E402 - the naming convention must come first
from core.db.tables.attempts import AttemptRow  # noqa: E402
from core.db.tables.idempotency import IdempotencyRow  # noqa: E402
from core.db.tables.jobs import DeletedJobRow, JobMetadataRow, JobRow, ResultRow  # noqa: E402
from core.db.tables.seals import SealRow  # noqa: E402
from core.db.tables.sweep import SweepTurnRow  # noqa: E402
from core.db.tables.webhooks import (  # noqa: E402
    DeliveryAttemptRow,
    DeliveryRow,
    RecoveryRow,
    RetiredSecretRow,
    WebhookEndpointRow,
)
from core.db.tables.workers import WorkerRow  # noqa: E402

metadata: MetaData = SQLModel.metadata

TENANT_TABLES = (
    "api_keys",
    "attempts",
    "deleted_jobs",
    "deliveries",
    "delivery_attempts",
    "idempotency",
    "job_metadata",
    "jobs",
    "results",
    "retired_webhook_secrets",
    "webhook_endpoints",
    "webhook_recoveries",
)

__all__ = [
    "TENANT_TABLES",
    "ApiKeyRow",
    "AttemptRow",
    "DeletedJobRow",
    "DeliveryAttemptRow",
    "DeliveryRow",
    "IdempotencyRow",
    "JobMetadataRow",
    "JobRow",
    "RecoveryRow",
    "ResultRow",
    "RetiredSecretRow",
    "SealRow",
    "SweepTurnRow",
    "TenantRow",
    "WebhookEndpointRow",
    "WorkerRow",
    "metadata",
]
