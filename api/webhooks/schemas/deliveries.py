"""The queries and responses of deliveries, their log, and recoveries. Times are RFC 3339 in UTC."""

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import TypedDict

from api.http.fields import HEX, TIME, described
from api.http.instants import Instant
from api.http.paging import PageQuery, PageView, cursor, page_view
from core.domain.errors import InvalidParameter
from core.domain.ids import (
    DELIVERY,
    ENDPOINT,
    EVENT,
    RECOVERY,
    EndpointId,
    JobId,
    show,
    show_job,
)
from core.domain.paging import Page
from core.webhooks.deliveries.records import (
    AttemptLine,
    DeliveryDetail,
    DeliveryFilter,
    DeliverySummary,
    RecoveryRecord,
)

DeliveryStatus = Literal["pending", "delivered", "exhausted", "skipped"]
_LONGEST_RANGE: Final = timedelta(days=92)


class DeliveryListQuery(PageQuery):
    """A page of deliveries; every field narrows."""

    after: str | None = cursor(DELIVERY)
    status: list[DeliveryStatus] = Field(
        default=[],
        description="Only deliveries in this state; repeat the parameter for several.",
        examples=[["exhausted"]],
    )
    event_type: str | None = Field(
        default=None,
        max_length=100,
        description="Only deliveries of events of this type.",
        examples=["job.succeeded"],
    )
    created_after: Instant | None = Field(
        default=None, description="Only deliveries created at this time or later (RFC 3339 with an offset)."
    )
    created_before: Instant | None = Field(default=None, description="Only deliveries created before this time.")

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
    """Which deliveries are sent again: those created at `since` or later and before `until`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Instant = Field(
        description="The start of the range (RFC 3339 with an offset), at most 92 days before `until`.",
        examples=["2026-03-04T05:06:07Z"],
    )
    until: Instant | None = Field(
        default=None, description="The end of the range; by default now.", examples=["2026-03-05T05:06:07Z"]
    )
    status: list[DeliveryStatus] = Field(
        default=["exhausted", "skipped"],
        min_length=1,
        description="Only deliveries in these states.",
        examples=[["exhausted"]],
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
    """One event, sent to one receiver."""

    id: Annotated[str, described("The delivery's id.", f"dlv_{HEX}")]
    object: Annotated[str, described("Always `webhook_delivery`.", "webhook_delivery")]
    webhook_id: Annotated[str, described("The event's id: the header `webhook-id` of every attempt.", f"evt_{HEX}")]
    event: Annotated[str, described("The type of the event.", "job.succeeded")]
    webhook_endpoint_id: Annotated[str | None, described("The endpoint; null for a job's own URL.", f"we_{HEX}")]
    job_id: Annotated[
        str | None, described("The job that the event is about; null when it is about none.", f"job_{HEX}")
    ]
    status: Annotated[str, described("The state of the delivery.", "delivered", values=get_args(DeliveryStatus))]
    url: Annotated[str, described("Where it is sent.", "https://example.com/hook")]
    attempts: Annotated[int, described("How often it was sent.", 1)]
    http_status: Annotated[int | None, described("The HTTP status of the receiver's last response.", 204)]
    error: Annotated[str | None, described("Why the last attempt failed.", "timeout")]
    created_at: Annotated[datetime, described("When the event happened.", TIME)]
    delivered_at: Annotated[datetime | None, described("When the receiver accepted it.", TIME)]
    next_attempt_at: Annotated[datetime | None, described("When it is sent next; null when it is not.", TIME)]


class TimingView(TypedDict):
    """Milliseconds; null for a step that did not happen: no name to resolve, a reused connection, no TLS."""

    dns_ms: Annotated[float | None, described("Resolving the receiver's name.", 1.2)]
    connect_ms: Annotated[float | None, described("Connecting to it.", 8.4)]
    tls_ms: Annotated[float | None, described("The TLS handshake.", 12.9)]
    first_byte_ms: Annotated[float | None, described("From the request to the first byte of the response.", 40.1)]
    total_ms: Annotated[float | None, described("The whole attempt.", 62.8)]


class AttemptLineView(TypedDict):
    """One attempt."""

    attempt: Annotated[int, described("Which attempt, from 1.", 1)]
    trigger: Annotated[
        str,
        described(
            "Why it was sent: by schedule, by a redelivery (`manual`), by a recovery or as a test.",
            "scheduled",
            values=("scheduled", "manual", "recovery", "test"),
        ),
    ]
    started_at: Annotated[datetime, described("When it was sent.", TIME)]
    http_status: Annotated[int | None, described("The HTTP status of the response; null without one.", 500)]
    error: Annotated[str | None, described("Why it failed; null when it was accepted.", "status")]
    timing: Annotated[TimingView, described("How long each part took.")]
    retry_after_seconds: Annotated[float | None, described("The wait that the receiver asked for.", 30.0)]
    excerpt: Annotated[str | None, described("The beginning of the response's body.", "internal error")]
    next_attempt_at: Annotated[
        datetime | None, described("When the next attempt was due; null if there was none.", TIME)
    ]


class DeliveryDetailView(DeliveryLineView):
    """A delivery with its payload and its attempts."""

    payload: Annotated[dict[str, JsonValue], described("The body that is sent.", {"type": "job.succeeded"})]
    log: Annotated[list[AttemptLineView], described("Its attempts, the first one first.")]


class DeliveryListView(PageView):
    """A page of deliveries, newest first."""

    data: Annotated[list[DeliveryLineView], described("The deliveries of this page.")]


class RecoveryView(TypedDict):
    """Deliveries of a range of time that are sent again."""

    id: Annotated[str, described("The recovery's id.", f"rcv_{HEX}")]
    object: Annotated[str, described("Always `webhook_recovery`.", "webhook_recovery")]
    webhook_endpoint_id: Annotated[str, described("The endpoint.", f"we_{HEX}")]
    status: Annotated[str, described("Whether it is still running.", "running", values=("running", "completed"))]
    since: Annotated[
        datetime, described("The start of the range of time; deliveries created at this time or later.", TIME)
    ]
    until: Annotated[datetime, described("The end of the range of time; deliveries created before this time.", TIME)]
    statuses: Annotated[
        list[str], described("The states of the deliveries that are sent again.", ["exhausted", "skipped"])
    ]
    total: Annotated[int, described("How many deliveries are to be sent again.", 120)]
    requeued: Annotated[int, described("How many of them have been queued again.", 100)]
    created_at: Annotated[datetime, described("When the recovery was asked for.", TIME)]
    finished_at: Annotated[datetime | None, described("When the last one was queued; null until then.", TIME)]


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


def delivery_list(page: Page[DeliverySummary]) -> DeliveryListView:
    return cast(DeliveryListView, page_view(page, delivery_line, lambda delivery: show(DELIVERY, delivery.id)))


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
