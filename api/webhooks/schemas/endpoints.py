"""The bodies and answers of `/v1/webhook_endpoints`: OpenAI's shape, and what inferd knows besides."""

from datetime import datetime
from typing import Annotated, Literal, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from typing_extensions import TypedDict

from api.http.fields import HEX, described
from api.http.paging import PageQuery, PageView, cursor, page_view
from core.domain.events import EVENT_TYPES, EventType
from core.domain.ids import ENDPOINT, show
from core.domain.paging import Page
from core.webhooks.endpoints.records import (
    EndpointChanges,
    EndpointDraft,
    EndpointRecord,
    RevealedEndpoint,
)

Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=len(EVENT_TYPES))]
# The least is one in a quarter of an hour; PostgreSQL's times end where far less would lead.
Rate = Annotated[float, Field(ge=0.001, le=10_000)]
SignatureName = Literal["v1", "v1a"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CreateWebhookEndpoint(_Strict):
    """A URL that is called for some types of events."""

    name: Name = Field(description="A name, for people.", examples=["orders"])
    url: str = Field(
        description="Called by POST, signed by Standard Webhooks 1.0. https, and a public address.",
        examples=["https://example.com/hook"],
    )
    event_types: EventTypes = Field(
        description="Events to send; GET /v1/webhook_event_types lists them.",
        examples=[["job.succeeded", "job.failed"]],
    )
    include_result: bool = Field(
        default=False,
        description="Whether the event of a success has the job's output, up to 64 kB, as `data.result`.",
        examples=[False],
    )
    max_per_second: Rate | None = Field(
        default=None, description="Maximum number of deliveries per second; null means no limit.", examples=[10]
    )
    signature: SignatureName = Field(
        default="v1", description="How events are signed: v1 is HMAC-SHA256, v1a is ed25519.", examples=["v1"]
    )
    enabled: bool = Field(
        default=True, description="Whether events are sent; if not, they are kept as `skipped`.", examples=[True]
    )

    def draft(self) -> EndpointDraft:
        return EndpointDraft(
            self.name, self.url, tuple(dict.fromkeys(self.event_types)), self.include_result, self.max_per_second
        )


class UpdateWebhookEndpoint(_Strict):
    """The fields to change; the others stay the same."""

    name: Name | None = Field(default=None, description="A new name.", examples=["orders"])
    url: str | None = Field(default=None, description="A new URL.", examples=["https://example.com/hook"])
    event_types: EventTypes | None = Field(
        default=None,
        description="All types of events to send from now on.",
        examples=[["job.succeeded", "job.failed"]],
    )
    include_result: bool | None = Field(
        default=None, description="Whether the event of a success has the job's output.", examples=[True]
    )
    max_per_second: Rate | None = Field(
        default=None, description="Maximum number of deliveries per second; null removes the limit.", examples=[10]
    )
    enabled: bool | None = Field(
        default=None, description="Whether events are sent; also set by POST …/enable and …/disable.", examples=[False]
    )

    @model_validator(mode="after")
    def _says_a_value(self) -> Self:
        for field in self.model_fields_set - {"max_per_second"}:
            if getattr(self, field) is None:
                raise ValueError(f"{field} must not be null; leave it out to keep it")
        return self

    def changes(self) -> EndpointChanges:
        return EndpointChanges(
            name=self.name,
            url=self.url,
            event_types=None if self.event_types is None else tuple(dict.fromkeys(self.event_types)),
            include_result=self.include_result,
            max_per_second=self.max_per_second,
            changes_rate="max_per_second" in self.model_fields_set,
            enabled=self.enabled,
        )


class RotateWebhookSecret(_Strict):
    """What happens to the old secret."""

    keep_old_secret_active_for_24_hours: bool = Field(
        default=False,
        description="Whether events are signed with the old secret too for 24 hours. By default it stops at once.",
        examples=[True],
    )
    signature: SignatureName | None = Field(
        default=None, description="Another signature scheme; by default it stays the same.", examples=["v1a"]
    )


class TestWebhookEndpoint(_Strict):
    """A test event to send."""

    __test__ = False

    event_type: EventType = Field(
        default="webhook.ping", description="The type of the test event.", examples=["webhook.ping"]
    )


class EndpointListQuery(PageQuery):
    """A page of endpoints."""

    after: str | None = cursor(ENDPOINT)


class WebhookEndpointView(TypedDict):
    """An endpoint. Times are Unix seconds; `failures` are those since the last success."""

    id: Annotated[str, described("The endpoint's id.", f"we_{HEX}")]
    object: Annotated[str, described("Always `webhook_endpoint`.", "webhook_endpoint")]
    name: Annotated[str, described("Its name, for people.", "orders")]
    url: Annotated[str, described("Where events are sent.", "https://example.com/hook")]
    event_types: Annotated[list[str], described("The types of events that are sent.", ["job.succeeded", "job.failed"])]
    created_at: Annotated[int, described("When it was registered, in Unix seconds.", 1772600767)]
    updated_at: Annotated[int, described("When it was last changed, in Unix seconds.", 1772600767)]
    signing_secret_hint: Annotated[str, described("The end of the secret, to tell secrets apart.", "whsec_…Zk1=")]
    signature: Annotated[
        str,
        described("How events are signed: v1 is HMAC-SHA256, v1a is ed25519.", "v1", values=get_args(SignatureName)),
    ]
    public_key: Annotated[str | None, described("The key with which a receiver verifies v1a; null for v1.", "whpk_…")]
    include_result: Annotated[bool, described("Whether the event of a success has the job's output.", False)]
    max_per_second: Annotated[
        float | None, described("Maximum number of deliveries per second; null means no limit.", 10.0)
    ]
    enabled: Annotated[bool, described("Whether events are sent.", True)]
    disabled_reason: Annotated[
        str | None,
        described("Why events are not sent; null if they are.", "caller", values=("caller", "gone", "failing")),
    ]
    disabled_at: Annotated[int | None, described("When it was disabled, in Unix seconds.", 1772600767)]
    failures: Annotated[int, described("Failed attempts since the last success.", 0)]
    failing_since: Annotated[
        int | None, described("When the first of these attempts was, in Unix seconds.", 1772600767)
    ]


class RevealedEndpointView(WebhookEndpointView):
    """An endpoint with what its receiver verifies with, shown once: `whsec_…`, or the public key `whpk_…` of v1a."""

    signing_secret: Annotated[
        str, described("What the receiver verifies with; shown in this response only.", "whsec_…")
    ]


class EndpointListView(PageView):
    """A page of endpoints, newest first."""

    data: Annotated[list[WebhookEndpointView], described("The endpoints of this page.")]


class DeletedEndpointView(TypedDict):
    """The endpoint is deleted."""

    id: Annotated[str, described("The endpoint's id.", f"we_{HEX}")]
    object: Annotated[str, described("Always `webhook_endpoint.deleted`.", "webhook_endpoint.deleted")]
    deleted: Annotated[bool, described("Always true.", True)]


class EndpointTestView(TypedDict):
    """The receiver answered, with `status_code`."""

    object: Annotated[str, described("Always `webhook_endpoint.test`.", "webhook_endpoint.test")]
    webhook_endpoint_id: Annotated[str, described("The endpoint.", f"we_{HEX}")]
    event_type: Annotated[str, described("The type of the test event.", "webhook.ping")]
    status_code: Annotated[int, described("The HTTP status of the receiver's response.", 204)]
    success: Annotated[bool, described("Whether the receiver responded with 2xx.", True)]


class EventTypeListView(PageView):
    """Every type, on one page."""

    data: Annotated[list[str], described("The types.", ["job.succeeded"])]


def endpoint_view(endpoint: EndpointRecord) -> WebhookEndpointView:
    draft = endpoint.draft
    return {
        "id": show(ENDPOINT, endpoint.id),
        "object": "webhook_endpoint",
        "name": draft.name,
        "url": draft.url,
        "event_types": list(draft.event_types),
        "created_at": int(endpoint.created_at.timestamp()),
        "updated_at": int(endpoint.updated_at.timestamp()),
        "signing_secret_hint": endpoint.secret_hint,
        "signature": endpoint.signature,
        "public_key": endpoint.secret_hint if endpoint.signature == "v1a" else None,
        "include_result": draft.include_result,
        "max_per_second": draft.max_per_second,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "disabled_at": _seconds(endpoint.disabled_at),
        "failures": endpoint.failures,
        "failing_since": _seconds(endpoint.failing_since),
    }


def endpoint_list(page: Page[EndpointRecord]) -> EndpointListView:
    return cast(EndpointListView, page_view(page, endpoint_view, lambda endpoint: show(ENDPOINT, endpoint.id)))


def revealed_view(revealed: RevealedEndpoint) -> RevealedEndpointView:
    return cast(RevealedEndpointView, {**endpoint_view(revealed.endpoint), "signing_secret": revealed.secret})


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
