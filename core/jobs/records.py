"""What moves between the use cases of core/jobs and the statements in core/jobs/store.py: rows, as frozen values.

A field has the name of its column in sql/*.sql (core/db/rows.py). A job is shown as a JobSummary in a list and as a
JobRecord by itself: a new column that callers may see is a field of one of the two.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pydantic import JsonValue

from core.domain.ids import DeliveryId, JobId, LeaseToken, TenantId
from core.domain.job_state import JobState, Priority
from core.domain.transitions import Transition


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to insert. `request` is sealed, `metadata` is JSON; seconds count from the insertion; `run_at` None means
    now. `webhook_events` are separated by spaces, because PostgreSQL has no arrays of arrays; None without a webhook.
    """

    id: JobId
    tenant_id: TenantId
    model: str
    request: bytes
    metadata: str
    priority: Priority
    request_id: str | None
    run_at: datetime | None
    deadline_seconds: float | None
    timeout_seconds: float
    max_attempts: int
    retry_initial_seconds: float | None
    retry_max_seconds: float | None
    webhook_url: str | None
    webhook_events: str | None
    idempotency_key: str | None
    fingerprint: bytes | None


class Inserted(NamedTuple):
    """What PostgreSQL decided of a new job, and the webhook deliveries that were made with it."""

    id: JobId
    state: JobState
    version: int
    created_at: datetime
    run_at: datetime
    deadline_at: datetime | None
    attempts_used: int
    delivery_ids: tuple[DeliveryId, ...]


@dataclass(frozen=True, slots=True)
class KeyHeld:
    """The idempotency key belongs to `job_id`, which was submitted with a body of this `fingerprint`.

    `state` is the job's; None: it was deleted.
    """

    job_id: JobId
    fingerprint: bytes
    state: JobState | None


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that this worker owns until its lease runs out, and all that a run needs to know.

    `snoozes` counts those in a row, `snoozed_seconds` the time since the first of them. A job that an older release
    submitted has no waits of its own. `has_listeners` is as of the claim: a subscriber may come later.
    """

    id: JobId
    tenant_id: TenantId
    model: str
    request: bytes
    priority: Priority
    version: int
    run_no: int
    attempts_used: int
    max_attempts: int
    retry_initial_seconds: float | None
    retry_max_seconds: float | None
    snoozes: int
    snoozed_seconds: float
    lease_token: LeaseToken
    follows_lost_run: bool
    timeout_seconds: float
    seconds_left: float | None
    queue_seconds: float
    delivery_ids: tuple[DeliveryId, ...] = ()
    has_listeners: bool = True


@dataclass(frozen=True, slots=True)
class NotDue:
    """The job waits for its time: enqueue it again in `seconds`."""

    seconds: float


class JobKey(NamedTuple):
    """A job by the key of its table."""

    id: JobId
    tenant_id: TenantId


class Run(NamedTuple):
    """One run of a job."""

    job_id: JobId
    tenant_id: TenantId
    run_no: int


@dataclass(frozen=True, slots=True)
class Change:
    """A transition for one job. A run names its `run_no` and `lease_token`; a caller's change names neither."""

    job_id: JobId
    tenant_id: TenantId
    transition: Transition
    run_no: int | None = None
    lease_token: LeaseToken | None = None
    output: bytes | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The change happened: the job's new version, and the webhook deliveries that it made."""

    version: int
    delivery_ids: tuple[DeliveryId, ...]


class RowLocked(Exception):
    """Somebody else holds the job's row: the same change may be made a little later."""


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job whose row this transaction has locked."""

    id: JobId
    tenant_id: TenantId
    state: JobState
    version: int
    model: str
    run_no: int
    priority: Priority


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One run at a provider. `attempt` is its place in the budget, `run_no` in all; waits are in seconds."""

    attempt: int
    run_no: int
    provider: str
    outcome: str
    started_at: datetime
    finished_at: datetime | None
    error_class: str | None
    error_code: str | None
    error_message: str | None
    http_status: int | None
    retry_after: float | None
    wait_seconds: float | None
    billed: str
    usage: dict[str, JsonValue] | None
    provider_request_id: str | None


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One webhook to one receiver; `status` and `error` are the last attempt's."""

    id: DeliveryId
    event_type: str
    state: str
    attempts: int
    status: int | None
    error: str | None
    delivered_at: datetime | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job in a list: everything but its input, its output and its attempts. What a new job lacks is None."""

    id: JobId
    state: JobState
    model: str
    metadata: dict[str, JsonValue]
    priority: Priority
    created_at: datetime
    run_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    queue_ms: int | None = None
    deadline_at: datetime | None
    max_attempts: int
    attempts_used: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord(JobSummary):
    """A whole job as its caller may see it. `request` and `output` are opened (core/db/sealed.py)."""

    tenant_id: TenantId
    version: int
    request: dict[str, JsonValue]
    request_id: str | None
    timeout_seconds: float
    retry_initial_seconds: float | None
    retry_max_seconds: float | None
    webhook_url: str | None
    webhook_events: tuple[str, ...]
    error_class: str | None = None
    output: dict[str, JsonValue] | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    deliveries: tuple[DeliveryRecord, ...] = ()
