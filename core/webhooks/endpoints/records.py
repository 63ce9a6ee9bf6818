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
