"""The groups of settings: their fields, bounds and descriptions. Put together and read by core/settings.py alone."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class Group(BaseModel):
    """Frozen; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(Group):
    url: SecretStr = Field(
        description="PostgreSQL for API and workers: postgresql://user:password@host:5432/name. The session drops to "
        "the role inferd_app, which is neither owner nor superuser."
    )
    owner_url: SecretStr | None = Field(
        default=None, description="PostgreSQL for `inferd migrate`, as the owner of the schema. Default: the url above."
    )
    pool_size: int = Field(default=10, ge=2, le=200, description="Connections a process keeps for its hot statements.")
    statement_timeout_seconds: float = Field(
        default=15.0, gt=0, description="A statement that runs longer is ended by PostgreSQL."
    )
    connect_timeout_seconds: float = Field(default=5.0, gt=0, description="How long one connection attempt may take.")
    wait_seconds: float = Field(
        default=30.0, ge=0, description="How long a starting process waits for a PostgreSQL that is not there yet."
    )


class RedisSettings(Group):
    url: SecretStr = Field(description="Redis or Valkey: redis://[:password@]host:6379/0, or rediss:// for TLS.")
    prefix: str = Field(default="inferd", pattern=r"^[a-z][a-z0-9_-]{0,30}$", description="What every key starts with.")
    enqueue_timeout_seconds: float = Field(
        default=0.05,
        gt=0,
        le=5,
        description="Most seconds that one write of ids to Redis may take; what it drops, the sweep enqueues.",
    )
    lane_limit: int = Field(
        default=100_000,
        ge=100,
        description="Job ids that Redis holds for each lane, about 370 bytes each; the sweep enqueues the rest later.",
    )


class ApiSettings(Group):
    host: str = Field(default="127.0.0.1", description="The address that the API listens on.")
    port: int = Field(default=8700, ge=0, le=65535, description="The port that the API listens on; 0 takes a free one.")
    public_url: str | None = Field(default=None, description="What clients call the API, for the links in its answers.")
    url: str | None = Field(default=None, description="For the command line: where `inferd run` finds the API.")
    key: SecretStr | None = Field(
        default=None, description="For the command line: the API key that `inferd run` sends."
    )
    max_body_bytes: int = Field(default=1_048_576, ge=1024, description="A larger request body is refused with 413.")
    max_bulk_bytes: int = Field(default=16_777_216, ge=1024, description="Maximum body for /v1/jobs/bulk.")
    max_wait_seconds: float = Field(
        default=60.0, gt=0, le=600, description="The longest that `wait` may hold a request."
    )
    requests_per_tenant: int = Field(default=500, ge=1, description="Open requests of a tenant in one API process.")
    waits_per_tenant: int = Field(
        default=1000, ge=1, description="Open long polls and event streams of a tenant in one API process."
    )
    max_connections: int = Field(default=5000, ge=1, description="Open connections of one API process.")
    header_seconds: float = Field(default=10.0, gt=0, description="How long a request's headers may take to arrive.")
    body_seconds: float = Field(
        default=60.0,
        gt=0,
        description="How long a request body may take to arrive, or a client may leave a response unread.",
    )
    idle_seconds: float = Field(default=65.0, gt=0, description="How long a connection is kept between requests.")
    shutdown_seconds: float = Field(default=2.0, ge=0, description="How long open requests may finish after SIGTERM.")


class JobSettings(Group):
    max_attempts: int = Field(default=8, ge=1, le=50, description="Default `max_attempts`.")
    retry_initial_seconds: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="The wait after the first attempt; it doubles with each one, and half of each wait is random.",
    )
    retry_max_seconds: float = Field(
        default=120.0, gt=0, le=86_400, description="The longest wait between two attempts or snoozes."
    )
    patience_seconds: float = Field(
        default=86_400.0,
        gt=0,
        description="How long a job may wait for a provider that is unreachable or throttles, before it fails.",
    )
    timeout_seconds: float = Field(default=600.0, gt=0, description="Default timeout of one attempt.")
    max_timeout_seconds: float = Field(
        default=3600.0, gt=0, le=86_400, description="The largest `timeout_seconds` that a job may ask for."
    )
    idempotency_hours: float = Field(default=24.0, gt=0, description="How long an Idempotency-Key is remembered.")


class RetentionSettings(Group):
    succeeded_days: float = Field(default=30.0, gt=0, description="How long a succeeded job is kept after it ended.")
    failed_days: float = Field(
        default=90.0, gt=0, description="How long a failed, cancelled or expired job is kept after it ended."
    )
    deleted_days: float = Field(
        default=30.0, gt=0, description="How long reading a deleted job answers 410, before it answers 404."
    )


class WorkerSettings(Group):
    concurrency: int = Field(default=100, ge=1, le=10_000, description="Jobs in flight in one worker process.")
    lease_seconds: float = Field(
        default=8.0, ge=1, description="How long a worker keeps its jobs without renewing its lease."
    )
    heartbeat_seconds: float = Field(default=2.0, gt=0, description="How often a worker renews its lease.")
    sweep_seconds: float = Field(
        default=3.0, gt=0, description="How often one of the workers looks for what was missed."
    )
    drain_seconds: float = Field(default=25.0, ge=0, description="How long running jobs may finish after SIGTERM.")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="Where the worker serves /metrics and /livez; unset: nowhere."
    )

    @model_validator(mode="after")
    def _beats_within_its_lease(self) -> Self:
        if 3 * self.heartbeat_seconds > self.lease_seconds:
            raise ValueError(
                f"INFERD_WORKER_LEASE_SECONDS ({self.lease_seconds:g}) must be at least three times "
                f"INFERD_WORKER_HEARTBEAT_SECONDS ({self.heartbeat_seconds:g}): one late heartbeat must not end a lease"
            )
        return self


class TenantSettings(Group):
    slot_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="The share of all workers' slots that one tenant may use while there are others.",
    )


class WebhookSettings(Group):
    timeout_seconds: float = Field(
        default=20.0, gt=0, le=60, description="One delivery, from connect to the last byte."
    )
    connect_timeout_seconds: float = Field(default=5.0, gt=0, description="Finding the address and the connect alone.")
    concurrency: int = Field(default=256, ge=1, description="Deliveries in flight in one worker process.")
    per_endpoint: int = Field(
        default=8, ge=1, description="Deliveries in flight to one endpoint, or to one host for the jobs of one tenant."
    )
    per_host: int = Field(default=32, ge=1, description="Deliveries in flight to one host, for all tenants together.")
    per_address: int = Field(
        default=64,
        ge=2,
        description="Deliveries in flight from one worker process to one IP address, under whatever host names; one "
        "tenant uses at most half of them.",
    )
    per_tenant: float = Field(
        default=0.25,
        gt=0,
        description="Deliveries in flight of one tenant: below 1, a share of each worker process's concurrency; "
        "from 1 on, a number for each worker process.",
    )
    retry_seconds: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(), description="The waits between attempts, as JSON; unset: those of docs/reference/webhooks.md."
    )
    allow_http: bool = Field(default=False, description="Whether http:// URLs are taken, not only https://.")
    allow_cidrs: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description='Private ranges that webhooks may reach, as JSON, e.g. ["10.0.0.0/8"]. Metadata stays closed.',
    )
    ca_file: Path | None = Field(
        default=None, description="A PEM file of certificate authorities that are trusted besides the system's."
    )


class RetrySettings(Group):
    """Retry limits of a provider's jobs, unless the job sets its own. Unset: those of INFERD_JOB_…."""

    max_attempts: int | None = Field(default=None, ge=1, le=50)
    initial_seconds: float | None = Field(default=None, gt=0, le=3600)
    max_seconds: float | None = Field(default=None, gt=0, le=86_400)

    @model_validator(mode="after")
    def _waits_in_order(self) -> Self:
        if (
            self.initial_seconds is not None
            and self.max_seconds is not None
            and self.initial_seconds > self.max_seconds
        ):
            raise ValueError("`initial_seconds` must not be larger than `max_seconds`")
        return self


class ProviderSettings(Group):
    """One entry of INFERD_PROVIDERS."""

    base_url: str = Field(description="Where its OpenAI-compatible API starts, usually ending in /v1.")
    api_key: SecretStr | None = Field(default=None, description="Sent as the bearer token; none is sent when unset.")
    models: tuple[str, ...] = Field(default=(), description="The models it serves; empty means any name is passed on.")
    concurrency: int = Field(default=256, ge=1, description="Connections that one worker process opens to it.")
    max_answer_bytes: int = Field(
        default=33_554_432, ge=1024, description="A larger answer, decompressed, fails the job: `answer_too_large`."
    )
    retry: RetrySettings = Field(
        default=RetrySettings(), description="`max_attempts`, `initial_seconds` and `max_seconds` of its jobs."
    )


class LogSettings(Group):
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The lowest level shown.")
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto is console on a terminal and JSON otherwise."
    )


class SentrySettings(Group):
    dsn: SecretStr | None = Field(default=None, description="Where bugs are reported; unset: nowhere.")
    environment: str = Field(default="production", description="The environment's name in Sentry.")
