"""Every setting, once: frozen, nested, read from `INFERD_…` and `.env`, and nowhere else in the project.

`load_settings()` is called by the entry points; everything below them is handed a Settings. Secrets have no
default. A wrong or missing value raises SettingsError with a message that names the variable.
.env.example and docs/reference/settings.md are made from these descriptions.
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

PREFIX: Final = "INFERD_"
_KEY_BYTES: Final = 32
_WHERE: Final = "Every setting is described in .env.example; `inferd serve` needs none of them."


class SettingsError(Exception):
    """The environment does not describe a system that can start; the message says which variable and why."""


def _master_key(value: SecretStr) -> SecretStr:
    try:
        raw = base64.b64decode(value.get_secret_value(), validate=True)
    except binascii.Error as error:
        raise ValueError("must be base64, e.g. from: openssl rand -base64 32") from error
    if len(raw) != _KEY_BYTES:
        raise ValueError("must hold exactly 32 bytes, e.g. from: openssl rand -base64 32")
    return value


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(_Group):
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


class RedisSettings(_Group):
    url: SecretStr = Field(description="Redis or Valkey: redis://[:password@]host:6379/0, or rediss:// for TLS.")
    prefix: str = Field(default="inferd", pattern=r"^[a-z][a-z0-9_-]{0,30}$", description="What every key starts with.")
    ring_timeout_seconds: float = Field(
        default=0.05, gt=0, le=5, description="How long a submit may wait for Redis; the sweep rings later otherwise."
    )
    lane_limit: int = Field(
        default=100_000,
        ge=100,
        description="Waiting ids that Redis holds for each lane, about 370 bytes each; the sweep adds the rest.",
    )


class ApiSettings(_Group):
    host: str = Field(default="127.0.0.1", description="The address that the API listens on.")
    port: int = Field(default=8700, ge=0, le=65535, description="The port that the API listens on; 0 takes a free one.")
    public_url: str | None = Field(default=None, description="What clients call the API, for the links in its answers.")
    url: str | None = Field(default=None, description="For the command line: where `inferd run` finds the API.")
    key: SecretStr | None = Field(
        default=None, description="For the command line: the API key that `inferd run` sends."
    )
    max_body_bytes: int = Field(default=1_048_576, ge=1024, description="A larger request body is refused with 413.")
    max_bulk_bytes: int = Field(
        default=16_777_216, ge=1024, description="As max_body_bytes, for requests that hold many jobs."
    )
    max_wait_seconds: float = Field(
        default=60.0, gt=0, le=600, description="The longest that `wait` may hold a request."
    )
    shutdown_seconds: float = Field(default=2.0, ge=0, description="How long open requests may finish after SIGTERM.")


class JobSettings(_Group):
    max_attempts: int = Field(default=5, ge=1, le=50, description="Attempts of a job that does not say.")
    timeout_seconds: float = Field(
        default=600.0, gt=0, description="The time of one attempt of a job that does not say."
    )
    idempotency_hours: float = Field(default=24.0, gt=0, description="How long an Idempotency-Key is remembered.")


class RetentionSettings(_Group):
    succeeded_days: float = Field(default=30.0, gt=0, description="How long a succeeded job is kept after it ended.")
    failed_days: float = Field(
        default=90.0, gt=0, description="How long a failed, cancelled or expired job is kept after it ended."
    )
    deleted_days: float = Field(
        default=30.0, gt=0, description="How long reading a deleted job answers 410, before it answers 404."
    )


class WorkerSettings(_Group):
    concurrency: int = Field(default=100, ge=1, le=10_000, description="Jobs in flight in one worker process.")
    lease_seconds: float = Field(default=8.0, ge=1, description="How long a worker owns a job without a heartbeat.")
    heartbeat_seconds: float = Field(default=2.0, gt=0, description="How often the lease is renewed.")
    sweep_seconds: float = Field(default=3.0, gt=0, description="How often each worker looks for what was missed.")
    drain_seconds: float = Field(default=25.0, ge=0, description="How long running jobs may finish after SIGTERM.")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="Where the worker serves /metrics and /livez; unset: nowhere."
    )


class TenantSettings(_Group):
    slot_share: float = Field(
        default=0.8, gt=0, le=1, description="The share of all workers' slots that one of several tenants may use."
    )


class WebhookSettings(_Group):
    timeout_seconds: float = Field(
        default=20.0, gt=0, le=60, description="One delivery, from connect to the last byte."
    )
    connect_timeout_seconds: float = Field(default=5.0, gt=0, description="Finding the address and the connect alone.")
    concurrency: int = Field(default=256, ge=1, description="Deliveries in flight in one worker process.")
    per_endpoint: int = Field(
        default=8, ge=1, description="Deliveries in flight to one endpoint, or to one host for the jobs of one tenant."
    )
    per_host: int = Field(default=32, ge=1, description="Deliveries in flight to one host, for all tenants together.")
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


class ProviderSettings(_Group):
    """One entry of INFERD_PROVIDERS."""

    base_url: str = Field(description="Where its OpenAI-compatible API starts, usually ending in /v1.")
    api_key: SecretStr | None = Field(default=None, description="Sent as the bearer token; none is sent when unset.")
    models: tuple[str, ...] = Field(default=(), description="The models it serves; empty means any name is passed on.")
    concurrency: int = Field(default=256, ge=1, description="Connections that one worker process opens to it.")


class LogSettings(_Group):
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The lowest level shown.")
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto is console on a terminal and JSON otherwise."
    )


class SentrySettings(_Group):
    dsn: SecretStr | None = Field(default=None, description="Where bugs are reported; unset: nowhere.")
    environment: str = Field(default="production", description="The environment's name in Sentry.")


def _default_data_dir() -> Path:
    root = os.environ.get("XDG_DATA_HOME")
    return (Path(root) if root else Path.home() / ".local" / "share") / "inferd"


class Settings(BaseSettings):
    """All groups. Nested names join with one underscore: `INFERD_API_PORT` is `settings.api.port`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_file=".env",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    database: DatabaseSettings
    redis: RedisSettings
    api: ApiSettings = ApiSettings()
    job: JobSettings = JobSettings()
    retention: RetentionSettings = RetentionSettings()
    worker: WorkerSettings = WorkerSettings()
    tenant: TenantSettings = TenantSettings()
    webhook: WebhookSettings = WebhookSettings()
    log: LogSettings = LogSettings()
    sentry: SentrySettings = SentrySettings()
    providers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")], ProviderSettings] = Field(
        default={},
        description='OpenAI-compatible servers by name, as JSON: {"vllm": {"base_url": "http://gpu:8000/v1"}}.',
    )
    openai_api_key: SecretStr | None = Field(default=None, description="Adds the provider `openai`.")
    openrouter_api_key: SecretStr | None = Field(default=None, description="Adds the provider `openrouter`.")
    huggingface_token: SecretStr | None = Field(default=None, description="Adds the provider `hf`, through its router.")
    local_base_url: str | None = Field(
        default=None, description="Where `local/smollm2-135m` is served; set by `inferd serve` and `inferd demo`."
    )
    local_api_key: SecretStr | None = Field(
        default=None, description="The bearer key of the local model's server; set by `inferd serve` and `inferd demo`."
    )
    echo_enabled: bool = Field(default=True, description="Whether the scripted provider `echo` answers.")
    master_key: Annotated[SecretStr, AfterValidator(_master_key)] | None = Field(
        default=None, description="32 bytes in base64: prompts, results and webhook secrets are encrypted at rest."
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Where `inferd serve` and `inferd demo` keep their servers' data.",
    )


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; `overrides` win over the environment. Raises SettingsError."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except SourceError as error:
        raise SettingsError(_explain_source(error)) from None


def _explain_source(error: SourceError) -> str:
    """pydantic-settings names the group that it could not parse; the ones that are JSON are its lists and mappings."""
    named = re.search(r'field "(\w+)"', str(error))
    group = f"{PREFIX}{named[1]}".upper() if named else PREFIX
    possible = {
        name: f"{name}: must be JSON. {description}"
        for name, (description, default, _) in variables().items()
        if name.startswith(group) and isinstance(default, tuple | dict)
    }
    # Those in a .env are not looked into: then all that are possible are named.
    wrong = [line for name, line in possible.items() if name in os.environ and not _is_json(os.environ[name])]
    return "\n".join([*(wrong or possible.values() or [f"{group}: {error}"]), _WHERE])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        location = [str(part) for part in problem["loc"]]
        # A missing group means that its first required member is missing.
        if problem["type"] == "missing" and len(location) == 1 and location[0] in ("database", "redis"):
            location.append("url")
        name = PREFIX + "_".join(location[:2]).upper() if location[0] != "providers" else f"{PREFIX}PROVIDERS"
        detail = f" ({'.'.join(location[1:])})" if location[0] == "providers" and len(location) > 1 else ""
        match problem["type"]:
            case "missing":
                what = "is not set"
            case "extra_forbidden" if not detail:
                what = "is no setting" + "".join(
                    f"; the nearest is {near}" for near in get_close_matches(name, variables(), 1)
                )
            case _:
                what = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{name}{detail}: {what}")
    return "\n".join([*lines, _WHERE])


def variables() -> dict[str, tuple[str, object, bool]]:
    """Each variable's name → (description, default, whether it is required), in reading order."""
    found: dict[str, tuple[str, object, bool]] = {}
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, _Group):
            for inner, member in group.model_fields.items():
                default = None if member.is_required() else member.default
                found[f"{PREFIX}{name}_{inner}".upper()] = (member.description or "", default, member.is_required())
        else:
            default = None if name == "data_dir" else field.default
            found[f"{PREFIX}{name}".upper()] = (field.description or "", default, False)
    return found


def unknown_variables(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Variables that start like ours but that nothing reads → the nearest known name, for a warning."""
    known = variables()
    names = [name for name in (environ if environ is not None else os.environ) if name.startswith(PREFIX)]
    return {name: next(iter(get_close_matches(name, known, 1)), None) for name in names if name not in known}
