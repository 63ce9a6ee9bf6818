"""All settings: frozen, nested, and read from `INFERD_…` and `.env` here.

Only a container's health check, which must be quick, reads three variables by itself (cli/operate/liveness.py).

The entry points call `load_settings()` and pass the Settings to everything below them. Secrets have no default. A wrong
or missing value raises SettingsError with a message that names the variable. .env.example and
docs/reference/settings.md are generated from the descriptions.
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from core.provider_settings import ProviderSettings, RetrySettings
from core.setting_groups import (
    ApiSettings,
    DatabaseSettings,
    Group,
    JobSettings,
    LogSettings,
    RedisSettings,
    RetentionSettings,
    SentrySettings,
    TenantSettings,
    WebhookSettings,
    WorkerSettings,
)

__all__ = [
    "PREFIX",
    "ApiSettings",
    "DatabaseSettings",
    "JobSettings",
    "LogSettings",
    "ProviderSettings",
    "RedisSettings",
    "RetentionSettings",
    "RetrySettings",
    "SentrySettings",
    "Settings",
    "SettingsError",
    "TenantSettings",
    "WebhookSettings",
    "WorkerSettings",
    "load_settings",
    "unknown_variables",
    "variables",
]

PREFIX: Final = "INFERD_"
_KEY_BYTES: Final = 32
_WHERE: Final = "Every setting is described in .env.example; `inferd serve` needs none of them."

_PLAIN: Final[Mapping[str, str]] = {
    "missing": "is not set",
    "extra_forbidden": "there is no such field",
    "model_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "tuple_type": "must be a JSON list",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
}


class SettingsError(Exception):
    """The process can't start with this environment; the message names the variable and the problem."""


def _master_key(value: SecretStr) -> SecretStr:
    try:
        raw = base64.b64decode(value.get_secret_value(), validate=True)
    except binascii.Error as error:
        raise ValueError("must be base64, e.g. from: openssl rand -base64 32") from error
    if len(raw) != _KEY_BYTES:
        raise ValueError("must hold exactly 32 bytes, e.g. from: openssl rand -base64 32")
    return value


def _within_limits(job: JobSettings) -> JobSettings:
    for name, value, limit_name, limit in (
        ("RETRY_INITIAL_SECONDS", job.retry_initial_seconds, "RETRY_MAX_SECONDS", job.retry_max_seconds),
        ("TIMEOUT_SECONDS", job.timeout_seconds, "MAX_TIMEOUT_SECONDS", job.max_timeout_seconds),
    ):
        if value > limit:
            raise ValueError(
                f"INFERD_JOB_{name} ({value:g}) must not be larger than INFERD_JOB_{limit_name} ({limit:g}); set both"
            )
    return job


def _default_data_dir() -> Path:
    root = os.environ.get("XDG_DATA_HOME")
    return (Path(root) if root else Path.home() / ".local" / "share") / "inferd"


class Settings(BaseSettings):
    """The settings of one process: `INFERD_API_PORT` is `settings.api.port`."""

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
    job: Annotated[JobSettings, AfterValidator(_within_limits)] = JobSettings()
    retention: RetentionSettings = RetentionSettings()
    worker: WorkerSettings = WorkerSettings()
    tenant: TenantSettings = TenantSettings()
    webhook: WebhookSettings = WebhookSettings()
    log: LogSettings = LogSettings()
    sentry: SentrySettings = SentrySettings()
    providers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")], ProviderSettings] = Field(
        default={},
        description="OpenAI-compatible servers as a JSON object from provider name to settings, such as "
        '{"vllm": {"base_url": "http://gpu:8000/v1"}}.',
    )
    openai_api_key: SecretStr | None = Field(
        default=None, description="API key of OpenAI; enables the models `openai/…`."
    )
    openrouter_api_key: SecretStr | None = Field(
        default=None, description="API key of OpenRouter; enables the models `openrouter/…`."
    )
    huggingface_token: SecretStr | None = Field(
        default=None, description="Hugging Face token; enables the models `hf/…` through Hugging Face's router."
    )
    local_base_url: str | None = Field(
        default=None,
        description="URL of the server of `local/smollm2-135m`; `inferd serve` and `inferd demo` set it themselves.",
    )
    local_api_key: SecretStr | None = Field(
        default=None,
        description="Bearer key of the local model's server; `inferd serve` and `inferd demo` set it themselves.",
    )
    echo_enabled: bool = Field(
        default=True, description="Enable the scripted models `echo/…`. Set false in production."
    )
    master_key: Annotated[SecretStr, AfterValidator(_master_key)] | None = Field(
        default=None,
        description="32 bytes in base64, from `openssl rand -base64 32`, the same for every process. Prompts, results "
        "and webhook secrets are encrypted at rest with it. Unset: they are stored in clear.",
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Directory in which `inferd serve` keeps the data of its embedded servers.",
    )


def load_settings(**overrides: Any) -> Settings:
    """Returns the settings of this process; `overrides` win over the environment. Raises SettingsError."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except SourceError as error:
        raise SettingsError(_explain_source(error)) from None


def _explain_source(error: SourceError) -> str:
    """Names the variables that are not JSON: pydantic-settings only names the group that it could not parse."""
    named = re.search(r'field "(\w+)"', str(error))
    group = f"{PREFIX}{named[1]}".upper() if named else PREFIX
    possible = {
        name: f"{name}: must be JSON. {description}"
        for name, (description, default, _) in variables().items()
        if name.startswith(group) and isinstance(default, tuple | dict)
    }
    # A value from a .env file is not available here; then every candidate is named.
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
        # pydantic reports a missing group when its required `url` is missing.
        if problem["type"] == "missing" and len(location) == 1 and location[0] in ("database", "redis"):
            location.append("url")
        name = PREFIX + "_".join(location[:2]).upper() if location[0] != "providers" else f"{PREFIX}PROVIDERS"
        detail = f" ({'.'.join(location[1:])})" if location[0] == "providers" and len(location) > 1 else ""
        match problem["type"]:
            case "extra_forbidden" if not detail:
                what = "is not a setting" + "".join(
                    f"; the nearest is {near}" for near in get_close_matches(name, variables(), 1)
                )
            case "string_pattern_mismatch" if location[-1] == "[key]":
                what = "a provider's name starts with a letter and has only lowercase letters, digits and hyphens"
            case kind:
                what = _in_plain_words(kind, problem["msg"])
        # The message of a check over a whole group already names its variables.
        lines.append(what if what.startswith(PREFIX) else f"{name}{detail}: {what}")
    return "\n".join([*lines, _WHERE])


def _in_plain_words(kind: str, message: str) -> str:
    """Returns pydantic's message without its jargon for types."""
    default = (
        message.removeprefix("Value error, ").replace("Input should be", "must be").replace("String should", "must")
    )
    return _PLAIN.get(kind, default)


def variables() -> dict[str, tuple[str, object, bool]]:
    """Returns each variable's name → (description, default, whether it is required), in the order of the reference."""
    found: dict[str, tuple[str, object, bool]] = {}
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, Group):
            for inner, member in group.model_fields.items():
                default = None if member.is_required() else member.default
                found[f"{PREFIX}{name}_{inner}".upper()] = (member.description or "", default, member.is_required())
        else:
            default = None if name == "data_dir" else field.default
            found[f"{PREFIX}{name}".upper()] = (field.description or "", default, False)
    return found


def unknown_variables(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Returns the set variables with our prefix that nothing reads → the nearest known name, for a warning."""
    known = variables()
    names = [name for name in (environ if environ is not None else os.environ) if name.startswith(PREFIX)]
    return {name: next(iter(get_close_matches(name, known, 1)), None) for name in names if name not in known}
