"""The groups of settings with their fields, bounds and descriptions. Only core/settings.py reads them."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class Group(BaseModel):
    """Frozen; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(Group):
    url: SecretStr = Field(
        description="PostgreSQL for the API and the workers: postgresql://user:password@host:5432/name. Every session "
        "switches to the role inferd_app, which is neither owner nor superuser."
    )
    owner_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL for `inferd migrate`, with the login that owns the schema. Unset: INFERD_DATABASE_URL.",
    )
    pool_size: int = Field(
        default=10,
        ge=2,
        le=200,
        description="Connections that each process keeps for its hot statements. Those are grouped, one statement of "
        "each kind at a time, so more than 10 rarely help.",
    )
    statement_timeout_seconds: float = Field(
        default=15.0, gt=0, description="Seconds after which PostgreSQL cancels a statement."
    )
    connect_timeout_seconds: float = Field(
        default=5.0, gt=0, description="Seconds that one attempt to connect may take."
    )
    wait_seconds: float = Field(
        default=30.0,
        ge=0,
        description="Seconds that a starting process waits for PostgreSQL to accept connections; 0 fails at once.",
    )


class RedisSettings(Group):
    url: SecretStr = Field(description="Redis or Valkey: redis://[:password@]host:6379/0, or rediss:// for TLS.")
    prefix: str = Field(
        default="inferd", pattern=r"^[a-z][a-z0-9_-]{0,30}$", description="Prefix of every key in Redis."
    )
    enqueue_timeout_seconds: float = Field(
        default=0.05,
        gt=0,
        le=5,
        description="Seconds that enqueuing may take. A job that Redis did not take in time is enqueued by the sweep, "
        "so a slow Redis never fails a submit.",
    )
    lane_limit: int = Field(
        default=100_000,
        ge=100,
        description="Job ids that Redis holds for each lane, about 370 bytes each; the default is about 37 MB a lane. "
        "Jobs beyond it wait in PostgreSQL, and the sweep enqueues them when there is room.",
    )


class ApiSettings(Group):
    host: str = Field(
        default="127.0.0.1",
        description="Address that the API listens on. Set 0.0.0.0 to accept connections from other machines.",
    )
    port: int = Field(default=8700, ge=0, le=65535, description="Port that the API listens on; 0 picks a free one.")
    public_url: str | None = Field(
        default=None,
        description="URL under which clients reach the API, such as https://inferd.example.com; links in responses "
        "start with it. Unset: links are paths.",
    )
    url: str | None = Field(
        default=None, description="For the command line: URL of the API that client commands such as `inferd run` call."
    )
    key: SecretStr | None = Field(
        default=None, description="For the command line: API key that client commands such as `inferd run` send."
    )
    max_body_bytes: int = Field(
        default=1_048_576, ge=1024, description="Largest request body in bytes (1 MiB); a larger one gets 413."
    )
    max_bulk_bytes: int = Field(
        default=16_777_216, ge=1024, description="Largest body of POST /v1/jobs/bulk in bytes (16 MiB)."
    )
    max_wait_seconds: float = Field(
        default=60.0,
        gt=0,
        le=600,
        description="Longest `wait` of a request, in seconds. Keep it below the read timeout of the proxy in front.",
    )
    requests_per_tenant: int = Field(
        default=500,
        ge=1,
        description="Open requests of one tenant in one API process; more get 429 `too_many_requests`.",
    )
    waits_per_tenant: int = Field(
        default=1000,
        ge=1,
        description="Open long polls and event streams of one tenant in one API process; more get 429 "
        "`too_many_waits`.",
    )
    max_connections: int = Field(
        default=5000, ge=1, description="Open connections of one API process; more get 503 and are closed."
    )
    header_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Seconds in which a request's headers must arrive; then it gets 408 or is cut off.",
    )
    body_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Seconds in which a request's body must arrive, and for which a client may leave a response "
        "unread.",
    )
    idle_seconds: float = Field(
        default=65.0,
        gt=0,
        description="Seconds that an idle connection is kept open. Longer than the usual 60 s of proxies, so that the "
        "proxy closes it first.",
    )
    shutdown_seconds: float = Field(
        default=2.0, ge=0, description="Seconds that open requests may take to finish after SIGTERM."
    )


class JobSettings(Group):
    max_attempts: int = Field(
        default=8,
        ge=1,
        le=50,
        description="Attempts of a job that sets no `retry.max_attempts` and whose provider sets none.",
    )
    retry_initial_seconds: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="Seconds to wait after the first failed attempt. The wait doubles with each attempt; half of it is "
        "random.",
    )
    retry_max_seconds: float = Field(
        default=120.0, gt=0, le=86_400, description="Longest wait in seconds between two attempts or snoozes."
    )
    patience_seconds: float = Field(
        default=86_400.0,
        gt=0,
        description="Seconds that a job waits for a provider that is unreachable or throttles (24 hours); then it "
        "fails with `waited_too_long`. These waits cost no attempt.",
    )
    timeout_seconds: float = Field(
        default=600.0, gt=0, description="Seconds that one attempt may take, when the job sets no `timeout_seconds`."
    )
    max_timeout_seconds: float = Field(
        default=3600.0, gt=0, le=86_400, description="Largest `timeout_seconds` that a job may set."
    )
    idempotency_hours: float = Field(
        default=24.0, gt=0, description="Hours that an Idempotency-Key is kept; later the same key creates a new job."
    )


class RetentionSettings(Group):
    succeeded_days: float = Field(
        default=30.0, gt=0, description="Days that a succeeded job is kept after it ended, with its output."
    )
    failed_days: float = Field(
        default=90.0, gt=0, description="Days that a failed, cancelled or expired job is kept after it ended."
    )
    deleted_days: float = Field(
        default=30.0, gt=0, description="Days for which reading a deleted job returns 410; afterwards it returns 404."
    )


class WorkerSettings(Group):
    concurrency: int = Field(
        default=100, ge=1, le=10_000, description="Slots of one worker process: the jobs that it runs at the same time."
    )
    lease_seconds: float = Field(
        default=8.0,
        ge=1,
        description="Seconds after its last heartbeat for which a worker keeps its jobs. At least three heartbeats, so "
        "that one late heartbeat does not end a lease.",
    )
    heartbeat_seconds: float = Field(
        default=2.0, gt=0, description="Seconds between two heartbeats, each of which renews the worker's lease."
    )
    sweep_seconds: float = Field(
        default=3.0,
        gt=0,
        description="Seconds between two sweeps, which repair what a dead worker or a lost Redis left behind. One "
        "worker sweeps at a time.",
    )
    drain_seconds: float = Field(
        default=25.0,
        ge=0,
        description="Seconds that running jobs may take to finish after SIGTERM; the rest are queued again at no cost. "
        "Below the 30 s after which most orchestrators kill.",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port on which a worker serves /metrics and /livez, such as 9101. Unset: none.",
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
        description="Share of all workers' slots that one tenant may use while other tenants have jobs. Alone, a "
        "tenant may use all of them.",
    )


class WebhookSettings(Group):
    timeout_seconds: float = Field(
        default=20.0,
        gt=0,
        le=60,
        description="Seconds that one attempt at a delivery may take, from connecting to the last byte of the "
        "response.",
    )
    connect_timeout_seconds: float = Field(
        default=5.0, gt=0, description="Seconds of these that resolving the host and connecting may take."
    )
    concurrency: int = Field(
        default=256, ge=1, description="Deliveries in flight in one worker process, apart from its job slots."
    )
    per_endpoint: int = Field(
        default=8,
        ge=1,
        description="Deliveries in flight to one endpoint, or from one tenant's jobs to one host, over all workers.",
    )
    per_host: int = Field(
        default=32, ge=1, description="Deliveries in flight to one host, over all tenants and workers."
    )
    per_address: int = Field(
        default=64,
        ge=2,
        description="Deliveries in flight from one worker process to one IP address, whatever host names resolve to "
        "it. One tenant uses at most half of them.",
    )
    per_tenant: float = Field(
        default=0.25,
        gt=0,
        description="Deliveries in flight of one tenant in each worker process: below 1 it is a share of "
        "INFERD_WEBHOOK_CONCURRENCY, from 1 on a number.",
    )
    retry_seconds: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(),
        description="Seconds to wait between the attempts at a delivery, as a JSON list such as [5, 300, 3600]. Unset: "
        "the schedule of docs/reference/webhooks.md, 75 hours long.",
    )
    allow_http: bool = Field(
        default=False, description="Accept http:// URLs for webhooks. Without it only https:// is accepted."
    )
    allow_cidrs: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description='Private networks that webhooks may reach, as a JSON list such as ["10.0.0.0/8"]. Cloud metadata '
        "addresses stay blocked.",
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of certificate authorities to trust in addition to the system's."
    )

    @property
    def longest_connect_seconds(self) -> float:
        """How long resolving and connecting may take: no longer than the whole attempt."""
        return min(self.connect_timeout_seconds, self.timeout_seconds)


class LogSettings(Group):
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto` is `console` on a terminal and `json` otherwise."
    )


class SentrySettings(Group):
    dsn: SecretStr | None = Field(
        default=None,
        description="Sentry DSN. Bugs are reported there; outages and refusals are only counted. Unset: off.",
    )
    environment: str = Field(default="production", description="Name of the environment in Sentry.")
