"""The settings of a command: from the environment, or those of the running `inferd serve` for who has set no stores."""

import sys
from contextlib import suppress
from pathlib import Path

from cli.saved import Running, load_running, load_secrets
from core.settings import Settings, SettingsError, load_settings, unknown_variables

# Never connected to: for commands that need settings, but no stores of the environment's.
_NO_STORES = {"database": {"url": "postgresql://none"}, "redis": {"url": "redis://none"}}


def storeless_settings(data_dir: Path | None = None) -> Settings:
    """Every setting but the stores. Raises SettingsError."""
    chosen = {} if data_dir is None else {"data_dir": data_dir}
    settings = load_settings(**_NO_STORES, **chosen)
    _warn_of_unknown()
    return settings


def production_settings() -> Settings:
    """The environment's alone, for the production roles. Raises SettingsError."""
    settings = load_settings()
    _warn_of_unknown()
    return settings


def operator_settings() -> Settings:
    """The environment's; else those of the `inferd serve` that runs on the data directory. Raises SettingsError."""
    try:
        settings = load_settings()
    except SettingsError:
        settings = load_settings(**_NO_STORES)
        running = load_running(settings.data_dir)
        if running is None or _names_a_store():
            raise
        settings = serve_settings(settings, running)
    _warn_of_unknown()
    return settings


def serve_settings(settings: Settings, running: Running) -> Settings:
    """The same settings, on the stores of an `inferd serve`."""
    known = load_secrets(settings.data_dir)
    master_key = settings.master_key or (known.master_key if known else None)
    return load_settings(
        data_dir=settings.data_dir,
        database={"url": running.database_url, "owner_url": running.owner_url},
        redis={"url": running.redis_url},
        **({} if master_key is None else {"master_key": master_key}),
    )


def _names_a_store() -> bool:
    """Whether one of the two is set: half a set-up is a mistake, not a wish for `inferd serve`."""
    for missing, nowhere in _NO_STORES.items():
        with suppress(SettingsError):
            load_settings(**{missing: nowhere})
            return True
    return False


def _warn_of_unknown() -> None:
    for name, nearest in unknown_variables().items():
        hint = f"; did you mean {nearest}?" if nearest else "."
        print(f"inferd: warning: nothing reads {name}{hint}", file=sys.stderr)
