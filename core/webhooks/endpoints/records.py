"""Endpoints as frozen values: what the use cases of this folder take and return."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.ids import EndpointId, TenantId
from core.webhooks.egress.signing import Signature


@dataclass(frozen=True, slots=True)
class EndpointDraft:
    """The fields of an endpoint that its caller sets."""

    name: str
    url: str
    event_types: tuple[str, ...]
    include_result: bool = False
    max_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class EndpointChanges:
    """Changes of an endpoint; None leaves a field as it is. `max_per_second` is changed if `changes_rate`, because None
    removes the limit.
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
    """An endpoint with the secret that its receiver verifies with, shown once."""

    endpoint: EndpointRecord
    secret: str


@dataclass(frozen=True, slots=True)
class DisabledEndpoint:
    """An endpoint that failed for too long, or returned 410."""

    id: EndpointId
    tenant_id: TenantId
    reason: str
    failures: int
