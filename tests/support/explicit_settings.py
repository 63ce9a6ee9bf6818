"""Settings that say everything themselves: nothing of the shell's environment and of a .env file gets in."""

# ruff: noqa: ARG003 - the signature is pydantic-settings'
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from core.settings import PREFIX, Settings, variables


class ExplicitSettings(Settings):
    """The product's own settings and checks, read from the constructor only."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that make a child process have these settings. Start it in a folder without a .env."""
    dumped: dict[str, Any] = dict(settings)
    found: dict[str, str] = {}
    for variable in variables():
        name = variable.removeprefix(PREFIX).lower()
        value = dumped.get(name, _MISSING)
        if value is _MISSING:
            group, _, member = name.partition("_")
            value = getattr(dumped[group], member)
        if value is not None:
            found[variable] = _text(value)
    return found


_MISSING = object()


def _text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return str(value).lower()
        case tuple() | dict():
            return json.dumps(_plain(value))
        case _:
            return str(value)


def _plain(value: object) -> object:
    match value:
        case BaseModel():
            return {name: _plain(member) for name, member in value if member is not None}
        case Mapping():
            return {str(name): _plain(member) for name, member in value.items()}
        case tuple():
            return [_plain(member) for member in value]
        case SecretStr():
            return value.get_secret_value()
        case bool() | int() | float():
            return value
        case _:
            return str(value)
