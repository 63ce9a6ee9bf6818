"""The queries and answers of deliveries, their log, and recoveries. Times are RFC 3339 in UTC."""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import TypedDict

from api.http.instants import Instant
from core.domain.errors import InvalidParameter
from core.domain.ids import (
    DELIVERY,
    ENDPOINT,
    EVENT,
    RECOVERY,
    DeliveryId,
    EndpointId,
    InvalidId,
    JobId,
    parse,
    show,
    show_job,
)
from core.webhooks.deliveries.records import (
    AttemptLine,
    DeliveryDetail,
    DeliveryFilter,
    DeliveryPage,
    DeliverySummary,
    RecoveryRecord,
)

DeliveryStatus = Literal["pending", "delivered", "exhausted", "skipped"]
_LONGEST_RANGE: Final = timedelta(days=92)


class DeliveryListQuery(BaseModel):
    """A page of deliveries; every field narrows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: str | None = Field(default=None, description="`next_cursor` of the page before.")
    status: list[DeliveryStatus] = Field(default=[], description="One or several, repeated.")
    event_type: str | None = Field(default=None, max_length=100)
    created_after: Instant | None = Field(default=None, description="From this time on (RFC 3339 with offset).")
    created_before: Instant | None = Field(default=None, description="Before this time.")

    def before_id(self) -> DeliveryId | None:
        """The cursor: deliveries older than this one. Raises InvalidParameter."""
        if self.after is None:
            return None
        try:
            return DeliveryId(parse(DELIVERY, self.after))
        except InvalidId:
            raise InvalidParameter("after: take it from the `next_cursor` of a page.", param="after") from None

    def filter(self, *, endpoint_id: EndpointId | None = None, job_id: JobId | None = None) -> DeliveryFilter:
        return DeliveryFilter(
            endpoint_id=endpoint_id,
            job_id=job_id,
            statuses=tuple(self.status),
            event_type=self.event_type,
            created_after=self.created_after,
            created_before=self.created_before,
        )


class RecoverWebhooks(BaseModel):
    """Which deliveries are sent again: those made from `since` on and before `until`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Instant = Field(description="RFC 3339 with an offset; at most 92 days before `until`.")
    until: Instant | None = Field(default=None, description="Now, by default.")
    status: list[DeliveryStatus] = Field(
        default=["exhausted", "skipped"], min_length=1, description="Only those that stand so."
    )

    def range_until(self, now: datetime) -> datetime:
        """Raises InvalidParameter when the range is none."""
        until = self.until or now
        if not self.since < until <= self.since + _LONGEST_RANGE:
            raise InvalidParameter(
                f"since: must be before `until`, by at most {_LONGEST_RANGE.days} days.", param="since"
            )
        return until


class DeliveryLineView(TypedDict):
    """A delivery; `webhook_id` is the `webhook-id` header of all its attempts, `http_status` the last answer's."""

    id: str
    object: str
    webhook_id: str
    event: str
    webhook_endpoint_id: str | None
    job_id: str | None
    status: str
    url: str
    attempts: int
    http_status: int | None
    error: str | None
    created_at: datetime
    delivered_at: datetime | None
    next_attempt_at: datetime | None


class TimingView(TypedDict):
    """Milliseconds; null for what did not happen: no name to find, a connection that was kept, no TLS."""

    dns_ms: float | None
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None
    total_ms: float | None


class AttemptLineView(TypedDict):
    """One attempt. `excerpt` is the beginning of what the receiver answered."""

    attempt: int
    trigger: str
    started_at: datetime
    http_status: int | None
    error: str | None
    timing: TimingView
    retry_after_seconds: float | None
    excerpt: str | None
    next_attempt_at: datetime | None


class DeliveryDetailView(DeliveryLineView):
    """With what it says, and how each attempt went."""

    payload: dict[str, JsonValue]
    log: list[AttemptLineView]


class DeliveryListView(TypedDict):
    """A page, newest first; `next_cursor` is the `after` of the next one."""

    object: str
    data: list[DeliveryLineView]
    has_more: bool
    next_cursor: str | None


class RecoveryView(TypedDict):
    """`requeued` of `total` are on their way again; `status` is running or completed."""

    id: str
    object: str
    webhook_endpoint_id: str
    status: str
    since: datetime
    until: datetime
    statuses: list[str]
    total: int
    requeued: int
    created_at: datetime
    finished_at: datetime | None


def delivery_line(delivery: DeliverySummary) -> DeliveryLineView:
    return {
        "id": show(DELIVERY, delivery.id),
        "object": "webhook_delivery",
        "webhook_id": show(EVENT, delivery.event_id),
        "event": delivery.event_type,
        "webhook_endpoint_id": None if delivery.endpoint_id is None else show(ENDPOINT, delivery.endpoint_id),
        "job_id": None if delivery.job_id is None else show_job(delivery.job_id),
        "status": delivery.status,
        "url": delivery.url,
        "attempts": delivery.attempts,
        "http_status": delivery.http_status,
        "error": delivery.error,
        "created_at": delivery.created_at,
        "delivered_at": delivery.delivered_at,
        "next_attempt_at": delivery.next_attempt_at,
    }


def delivery_view(delivery: DeliveryDetail) -> DeliveryDetailView:
    return {
        **delivery_line(delivery.summary),
        "payload": delivery.event,
        "log": [_attempt(line) for line in delivery.log],
    }


def delivery_list(page: DeliveryPage) -> DeliveryListView:
    return {
        "object": "list",
        "data": [delivery_line(each) for each in page.deliveries],
        "has_more": page.has_more,
        "next_cursor": show(DELIVERY, page.deliveries[-1].id) if page.has_more else None,
    }


def recovery_view(recovery: RecoveryRecord) -> RecoveryView:
    return {
        "id": show(RECOVERY, recovery.id),
        "object": "webhook_recovery",
        "webhook_endpoint_id": show(ENDPOINT, recovery.endpoint_id),
        "status": recovery.state,
        "since": recovery.since,
        "until": recovery.until,
        "statuses": list(recovery.statuses),
        "total": recovery.total,
        "requeued": recovery.requeued,
        "created_at": recovery.created_at,
        "finished_at": recovery.finished_at,
    }


def _attempt(line: AttemptLine) -> AttemptLineView:
    timing = line.timing
    return {
        "attempt": line.attempt,
        "trigger": line.trigger,
        "started_at": line.started_at,
        "http_status": line.http_status,
        "error": line.error,
        "timing": {
            "dns_ms": timing.dns_ms,
            "connect_ms": timing.connect_ms,
            "tls_ms": timing.tls_ms,
            "first_byte_ms": timing.first_byte_ms,
            "total_ms": timing.total_ms,
        },
        "retry_after_seconds": line.retry_after,
        "excerpt": line.excerpt,
        "next_attempt_at": line.next_attempt_at,
    }
