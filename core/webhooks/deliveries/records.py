"""Deliveries as frozen values: what the use cases of this folder and store.py take and return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from pydantic import JsonValue

from core.domain.ids import DeliveryId, EndpointId, EventId, JobId, LeaseToken, RecoveryId, TenantId
from core.webhooks.egress.exchange import Timing
from core.webhooks.endpoints.records import DisabledEndpoint


@dataclass(frozen=True, slots=True)
class Caps:
    """How many deliveries may be in flight: to one target, to one host, and from here to hosts that seem dead and of
    one tenant; `sending` are those of each tenant that are in flight from here.
    """

    per_target: int
    per_host: int
    suspects: frozenset[str]
    suspect_room: int
    per_tenant: int
    sending: Mapping[TenantId, int]


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that this sender owns until its lease runs out. Secrets and `output` are sealed.

    `output` is the job's result, for an endpoint that wants it with the event; None when it is too large for that, or
    is gone with its job.
    """

    id: DeliveryId
    tenant_id: TenantId
    endpoint_id: EndpointId | None
    job_id: JobId | None
    lease_token: LeaseToken
    event_id: EventId
    event_type: str
    url: str
    host: str
    body: bytes
    attempts: int
    slots_used: int
    trigger: str
    secret: bytes
    retired_secrets: tuple[bytes, ...]
    includes_result: bool
    result_is_gone: bool
    output: bytes | None


@dataclass(frozen=True, slots=True)
class DeliveryNotDue:
    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. `delay` is in seconds, for one that is tried again; `pause` is for the whole endpoint."""

    delivery: ClaimedDelivery
    state: str
    started_at: datetime
    timing: Timing
    delay: float | None = None
    status: int | None = None
    error: str | None = None
    pause: float | None = None
    retry_after: float | None = None
    excerpt: str | None = None


@dataclass(frozen=True, slots=True)
class PutBack:
    """A delivery that was not sent and is tried again in `delay` seconds, at no cost."""

    delivery: ClaimedDelivery
    delay: float


class Written(NamedTuple):
    """Where a delivery that ended went to."""

    tenant_id: TenantId
    host: str
    target: UUID


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """The deliveries that were still their senders', and the endpoints that were disabled."""

    written: Mapping[DeliveryId, Written]
    disabled: Sequence[DisabledEndpoint]


@dataclass(frozen=True, slots=True)
class Successor:
    """A delivery that may be sent, `delay` seconds from now."""

    id: DeliveryId
    tenant_id: TenantId
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class DeliverySummary:
    """A delivery in a list; `http_status` and `error` are the last attempt's."""

    id: DeliveryId
    event_id: EventId
    event_type: str
    endpoint_id: EndpointId | None
    job_id: JobId | None
    url: str
    status: str
    attempts: int
    http_status: int | None
    error: str | None
    created_at: datetime
    delivered_at: datetime | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """One attempt in the log."""

    attempt: int
    trigger: str
    started_at: datetime
    http_status: int | None
    error: str | None
    timing: Timing
    retry_after: float | None
    excerpt: str | None
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryDetail:
    """A delivery with its payload and the log of its attempts, the first one first."""

    summary: DeliverySummary
    event: dict[str, JsonValue]
    log: tuple[AttemptLine, ...]


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries a list has; None or empty means any."""

    endpoint_id: EndpointId | None = None
    job_id: JobId | None = None
    statuses: tuple[str, ...] = ()
    event_type: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecoveryRecord:
    """A range of deliveries that is sent again, and its progress."""

    id: RecoveryId
    endpoint_id: EndpointId
    since: datetime
    until: datetime
    statuses: tuple[str, ...]
    state: str
    total: int
    requeued: int
    created_at: datetime
    finished_at: datetime | None
