"""Endpoints as frozen values: what the use cases of this folder take and return."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.ids import EndpointId, TenantId
from core.webhooks.egress.signing import Signature


@dataclass(frozen=True, slots=True)
class EndpointDraft:
    """What a caller says of an endpoint."""

    name: str
    url: str
    event_types: tuple[str, ...]
    include_result: bool = False
    max_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class EndpointChanges:
    """What a caller wants changed; None leaves a field as it is. `max_per_second` counts with `changes_rate` alone,
    because None takes the limit away.
    """

    name: str | None = None
    url: str | None = None
    event_types: tuple[str, ...] | None = None
    include_result: bool | None = None
    max_per_second: float | None = None
    changes_rate: bool = False
    enabled: bool | None = None

    def applied_to(self, draft: EndpointDraft) -> EndpointDraft:
        """The draft with these changes made."""
        return EndpointDraft(
            name=draft.name if self.name is None else self.name,
            url=draft.url if self.url is None else self.url,
            event_types=draft.event_types if self.event_types is None else self.event_types,
            include_result=draft.include_result if self.include_result is None else self.include_result,
            max_per_second=self.max_per_second if self.changes_rate else draft.max_per_second,
        )


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """An endpoint as its caller may see it. `failures` are those since the last success."""

    id: EndpointId
    draft: EndpointDraft
    signature: Signature
    secret_hint: str
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failures: int
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RevealedEndpoint:
    """An endpoint with what its receiver verifies with, shown this once."""

    endpoint: EndpointRecord
    secret: str


@dataclass(frozen=True, slots=True)
class EndpointPage:
    """Newest first."""

    endpoints: tuple[EndpointRecord, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class DisabledEndpoint:
    """An endpoint that failed for too long, or said that it is gone."""

    id: EndpointId
    tenant_id: TenantId
    reason: str
    failures: int
