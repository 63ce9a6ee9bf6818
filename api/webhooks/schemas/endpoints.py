"""The bodies and answers of `/v1/webhook_endpoints`: OpenAI's shape, and what inferd knows besides."""

from datetime import datetime
from typing import Annotated, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from typing_extensions import TypedDict

from core.domain.errors import InvalidParameter
from core.domain.events import EVENT_TYPES, EventType
from core.domain.ids import ENDPOINT, EndpointId, InvalidId, parse, show
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

    name: Name = Field(description="For people.")
    url: str = Field(description="Called by POST, signed as Standard Webhooks 1.0 says.")
    event_types: EventTypes = Field(description="Which events are sent; GET /v1/webhook_event_types lists them.")
    include_result: bool = Field(
        default=False, description="Whether the event of a success has the job's output, up to 64 kB, as `data.result`."
    )
    max_per_second: Rate | None = Field(default=None, description="At most so many calls a second.")
    signature: SignatureName = Field(default="v1", description="v1 is HMAC-SHA256, v1a is ed25519.")
    enabled: bool = True

    def draft(self) -> EndpointDraft:
        return EndpointDraft(
            self.name, self.url, tuple(dict.fromkeys(self.event_types)), self.include_result, self.max_per_second
        )


class UpdateWebhookEndpoint(_Strict):
    """What is named is changed."""

    name: Name | None = None
    url: str | None = None
    event_types: EventTypes | None = Field(default=None, description="The whole new set.")
    include_result: bool | None = None
    max_per_second: Rate | None = Field(default=None, description="null takes the limit away.")
    enabled: bool | None = Field(default=None, description="Also by POST …/enable and …/disable.")

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
    """How the old secret ends."""

    keep_old_secret_active_for_24_hours: bool = Field(
        default=False, description="Whether it signs too for a day; without it, it stops at once."
    )
    signature: SignatureName | None = Field(default=None, description="Changes the scheme; by default it stays.")


class TestWebhookEndpoint(_Strict):
    """A sample to send."""

    __test__ = False

    event_type: EventType = "webhook.ping"


class EndpointListQuery(BaseModel):
    """A page of endpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: str | None = Field(default=None, description="`next_cursor` of the page before.")

    def before_id(self) -> EndpointId | None:
        """The cursor: endpoints older than this one. Raises InvalidParameter."""
        if self.after is None:
            return None
        try:
            return EndpointId(parse(ENDPOINT, self.after))
        except InvalidId:
            raise InvalidParameter("after: take it from the `next_cursor` of a page.", param="after") from None


class WebhookEndpointView(TypedDict):
    """An endpoint. Times are Unix seconds; `failures` are those since the last success."""

    id: str
    object: str
    name: str
    url: str
    event_types: list[str]
    created_at: int
    updated_at: int
    signing_secret_hint: str
    signature: str
    public_key: str | None
    include_result: bool
    max_per_second: float | None
    enabled: bool
    disabled_reason: str | None
    disabled_at: int | None
    failures: int
    failing_since: int | None


class RevealedEndpointView(WebhookEndpointView):
    """With what its receiver verifies with, this once: `whsec_…`, or the public key `whpk_…` of v1a."""

    signing_secret: str


class EndpointListView(TypedDict):
    """A page, newest first; `next_cursor` is the `after` of the next one."""

    object: str
    data: list[WebhookEndpointView]
    has_more: bool
    next_cursor: str | None


class DeletedEndpointView(TypedDict):
    id: str
    object: str
    deleted: bool


class EndpointTestView(TypedDict):
    """The receiver answered, with `status_code`."""

    object: str
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: bool


class EventTypeListView(TypedDict):
    object: str
    data: list[str]


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
    return {
        "object": "list",
        "data": [endpoint_view(each) for each in page.items],
        "has_more": page.has_more,
        "next_cursor": show(ENDPOINT, page.items[-1].id) if page.has_more else None,
    }


def revealed_view(revealed: RevealedEndpoint) -> RevealedEndpointView:
    return cast(RevealedEndpointView, {**endpoint_view(revealed.endpoint), "signing_secret": revealed.secret})


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
