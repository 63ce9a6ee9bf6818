"""Finds the provider of a model, from the settings.

The API calls `validate` at submit and `models` for GET /v1/models; core/jobs/execute.py calls `resolve` for each run. A
model is always `provider/name`, never a URL. Providers are built at first use, or all at once by `warm`, so that a
process that only validates loads no SDK.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final
from urllib.parse import urlsplit

from pydantic import JsonValue, SecretStr

from core.domain.errors import InvalidParameter
from core.domain.retry import NO_LIMITS, RetryLimits
from core.providers.echo import ECHO_PARAMS, MODELS, Echo, script_of
from core.providers.params import check_chat_params, check_known_params
from core.providers.port import Provider
from core.settings import ProviderSettings, Settings, SettingsError

MODEL_ID: Final = re.compile(r"[a-z][a-z0-9-]*/[\w.:-]+(/[\w.:-]+)*", re.ASCII)
MAX_MODEL_ID: Final = 200
_MOST_COMPARED: Final = 200
LOCAL_MODEL: Final = "smollm2-135m"
# Providers that inferd knows; the variable enables them.
_KEY_VARIABLES: Final = {
    "openai": "INFERD_OPENAI_API_KEY",
    "openrouter": "INFERD_OPENROUTER_API_KEY",
    "hf": "INFERD_HUGGINGFACE_TOKEN",
    "local": "INFERD_LOCAL_BASE_URL",
}


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model with a known name; `id` is the `model` of a job."""

    id: str
    provider: str


@dataclass(frozen=True, slots=True)
class Source:
    """A provider that can be built. With empty `models`, any name is passed on to it."""

    build: Callable[[], Provider]
    check: Callable[[str, Mapping[str, JsonValue]], None]
    models: tuple[str, ...] = ()
    retry: RetryLimits = NO_LIMITS


class Catalogue:
    """The providers of one process. Use it from one event loop only."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)
        self._built: dict[str, Provider] = {}

    def models(self) -> tuple[ModelEntry, ...]:
        """Returns the models with a known name, sorted; a provider that accepts any name has none."""
        entries = [
            ModelEntry(f"{provider}/{name}", provider)
            for provider, source in self._sources.items()
            for name in source.models
        ]
        return tuple(sorted(entries, key=lambda entry: entry.id))

    def validate(self, model: str, params: Mapping[str, JsonValue]) -> None:
        """Raises InvalidParameter: `model_not_found`, or a param that the model does not accept."""
        provider, name = self._split(model)
        self._sources[provider].check(name, params)

    def resolve(self, model: str) -> tuple[Provider, str]:
        """Returns the provider and the model's name there. Raises InvalidParameter(code="model_not_found")."""
        provider, name = self._split(model)
        return self._provider(provider), name

    def retry_limits(self, model: str) -> RetryLimits:
        """Returns the retry limits of the model's provider. Raises as `resolve`."""
        provider, _ = self._split(model)
        return self._sources[provider].retry

    def warm(self) -> None:
        """Builds all providers, so that the first job does not wait for an SDK to load."""
        for name in self._sources:
            self._provider(name)

    async def aclose(self) -> None:
        async with AsyncExitStack() as stack:
            for provider in self._built.values():
                stack.push_async_callback(provider.aclose)

    def _provider(self, name: str) -> Provider:
        if name not in self._built:
            self._built[name] = self._sources[name].build()
        return self._built[name]

    def _split(self, model: str) -> tuple[str, str]:
        if len(model) > MAX_MODEL_ID or not MODEL_ID.fullmatch(model):
            raise self._not_found(f"`{model[:MAX_MODEL_ID]}` is not a model id; write it as provider/name", model)
        provider, _, name = model.partition("/")
        source = self._sources.get(provider)
        if source is None and provider in _KEY_VARIABLES:
            raise self._not_found(f"The provider `{provider}` is not configured: set {_KEY_VARIABLES[provider]}", model)
        if source is None:
            raise self._not_found(f"There is no provider `{provider}`", model)
        if source.models and name not in source.models:
            raise self._not_found(f"The provider `{provider}` has no model `{name}`", model)
        return provider, name

    def _not_found(self, what: str, model: str) -> InvalidParameter:
        # Bounded, because comparing is quadratic in the lengths and blocks the event loop.
        model = model[:MAX_MODEL_ID]
        known = [entry.id for entry in self.models()[:_MOST_COMPARED]]
        open_ended = [f"{name}/…" for name, source in self._sources.items() if not source.models]
        # A name without a provider is compared with such names, so that `smollm2` finds its provider.
        by_name = {entry.partition("/")[2]: entry for entry in known}
        near = get_close_matches(model, [*known, *open_ended], 3) or [
            by_name[name] for name in get_close_matches(model.rpartition("/")[2], by_name, 3)
        ]
        keyless = [f"{name}/{self._sources[name].models[0]}" for name in ("echo", "local") if name in self._sources]
        hints = (
            _listed("nearest", near),
            _listed("available here, among others", [*keyless, *open_ended]),
        )
        return InvalidParameter(
            "; ".join(part for part in (what, *hints) if part) + ".", code="model_not_found", param="model"
        )


def open_catalogue(settings: Settings) -> Catalogue:
    """Opens the presets whose key is set and INFERD_PROVIDERS, which overrides a preset of the same name.

    Raises SettingsError for a `base_url` that is not a valid URL.
    """
    sources: dict[str, Source] = {}
    if settings.echo_enabled:
        sources["echo"] = Source(Echo, _check_echo, tuple(MODELS))
    if settings.local_base_url is not None:
        _check_url(settings.local_base_url, "INFERD_LOCAL_BASE_URL")
        sources["local"] = _local(settings.local_base_url, settings.local_api_key)
    for name, provider in endpoints(settings).items():
        sources[name] = _openai_compatible(provider)
    return Catalogue(sources)


def endpoints(settings: Settings) -> dict[str, ProviderSettings]:
    """Returns the OpenAI-compatible servers by provider name. Raises SettingsError."""
    found = {
        name: ProviderSettings(base_url=base_url, api_key=key)
        for name, base_url, key in (
            ("openai", "https://api.openai.com/v1", settings.openai_api_key),
            ("openrouter", "https://openrouter.ai/api/v1", settings.openrouter_api_key),
            ("hf", "https://router.huggingface.co/v1", settings.huggingface_token),
        )
        if key is not None
    }
    for name, provider in settings.providers.items():
        _check_url(provider.base_url, f"INFERD_PROVIDERS ({name}.base_url)")
        found[name] = provider
    return found


def _openai_compatible(provider: ProviderSettings) -> Source:
    def build() -> Provider:
        from core.providers.openai_compatible import Endpoint, OpenAICompatible  # noqa: PLC0415 - loads an SDK, see above

        return OpenAICompatible(
            Endpoint(
                provider.base_url,
                provider.api_key,
                provider.concurrency,
                max_answer_bytes=provider.max_answer_bytes,
            )
        )

    retry = RetryLimits(provider.retry.max_attempts, provider.retry.initial_seconds, provider.retry.max_seconds)
    return Source(build, _check_chat, provider.models, retry)


def _local(base_url: str, api_key: SecretStr | None) -> Source:
    def build() -> Provider:
        from core.providers.local import local  # noqa: PLC0415 - loads an SDK, see above

        return local(base_url, api_key)

    return Source(build, _check_chat, (LOCAL_MODEL,))


def _check_url(url: str, variable: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"{variable}: must be an http:// or https:// URL such as http://127.0.0.1:8000/v1")


def _check_chat(_name: str, params: Mapping[str, JsonValue]) -> None:
    check_chat_params(params)


def _check_echo(name: str, params: Mapping[str, JsonValue]) -> None:
    check_known_params(params, ECHO_PARAMS)
    script_of(name, params)


def _listed(label: str, names: Iterable[str]) -> str:
    text = ", ".join(names)
    return f"{label}: {text}" if text else ""
