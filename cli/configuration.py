"""The settings of a command: from the environment, or those of the running `inferd serve` where no stores are set."""

import sys
from contextlib import suppress
from pathlib import Path

from cli.saved import Running, load_running, load_secrets
from core.settings import Settings, SettingsError, load_settings, unknown_variables

# Placeholders, never connected to, for commands that need settings but no stores.
_NO_STORES = {"database": {"url": "postgresql://none"}, "redis": {"url": "redis://none"}}


def storeless_settings(data_dir: Path | None = None) -> Settings:
    """Returns every setting except the stores. Raises SettingsError."""
    chosen = {} if data_dir is None else {"data_dir": data_dir}
    settings = load_settings(**_NO_STORES, **chosen)
    _warn_of_unknown()
    return settings


def production_settings() -> Settings:
    """Returns the settings of the environment only, for `inferd api` and `inferd worker`. Raises SettingsError."""
    try:
        settings = load_settings()
    except SettingsError as error:
        if not _only_lacks_stores():
            raise
        raise SettingsError(
            f"{error} This command doesn't use the servers of a running `inferd serve`, which has an API and workers "
            "of its own; for more workers: `inferd serve --workers N`."
        ) from None
    _warn_of_unknown()
    return settings


def operator_settings() -> Settings:
    """Returns the settings of the environment, else those of the running `inferd serve`. Raises SettingsError."""
    try:
        settings = load_settings()
    except SettingsError as error:
        settings = load_settings(**_NO_STORES)
        running = load_running(settings.data_dir)
        if _names_a_store():
            raise
        if running is None:
            raise SettingsError(
                f"{error} No `inferd serve` runs on {settings.data_dir}: if one was started with another "
                "INFERD_DATA_DIR or --data-dir, set INFERD_DATA_DIR to the same here."
            ) from None
        settings = serve_settings(settings, running)
    _warn_of_unknown()
    return settings


def serve_settings(settings: Settings, running: Running) -> Settings:
    """Returns the same settings with the stores of an `inferd serve`."""
    known = load_secrets(settings.data_dir)
    master_key = settings.master_key or (known.master_key if known else None)
    optional = {
        "master_key": master_key,
        "local_base_url": running.local_base_url,
        "local_api_key": running.local_api_key,
    }
    return load_settings(
        data_dir=settings.data_dir,
        database={"url": running.database_url, "owner_url": running.owner_url},
        redis={"url": running.redis_url},
        **{name: value for name, value in optional.items() if value is not None},
    )


def _only_lacks_stores() -> bool:
    """Returns whether the environment is valid except for the two missing stores."""
    try:
        load_settings(**_NO_STORES)
    except SettingsError:
        return False
    return not _names_a_store()


def _names_a_store() -> bool:
    """Returns whether one of the two is set: half a set-up is a mistake, and does not ask for `inferd serve`."""
    for missing, nowhere in _NO_STORES.items():
        with suppress(SettingsError):
            load_settings(**{missing: nowhere})
            return True
    return False


def _warn_of_unknown() -> None:
    for name, nearest in unknown_variables().items():
        hint = f"; did you mean {nearest}?" if nearest else "."
        print(f"inferd: warning: nothing reads {name}{hint}", file=sys.stderr)
