"""Which API a command of a client's calls, and with which key. Used by `inferd run`, `jobs` and `webhooks`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cli.client.http import ApiClient, parse_url
from cli.configuration import storeless_settings
from cli.exit_codes import CommandFailed, ExitCode
from cli.saved import load_running, load_secrets
from core.settings import Settings

Answer = TypeVar("Answer")


def call(work: Callable[[ApiClient], Awaitable[Answer]], *, api_url: str | None, api_key: str | None) -> Answer:
    """What `work` returns, with a client of the API that the options name. Raises CommandFailed."""

    async def run() -> Answer:
        async with ApiClient(*find_target(storeless_settings(), api_url, api_key)) as api:
            return await work(api)

    return asyncio.run(run())


def find_target(settings: Settings, api_url: str | None, api_key: str | None) -> tuple[str, str]:
    """The URL and the key: as named, as set, or those of the `inferd serve` on the data directory."""
    running = load_running(settings.data_dir)
    named = api_url or settings.api.url
    if named is not None:
        parse_url(named)
    own = running.api_url if running else f"http://{settings.api.host}:{settings.api.port}"
    key = api_key or (settings.api.key.get_secret_value() if settings.api.key else None)
    # The development key goes to the server that made it and to no other.
    if key is None and (named is None or named.rstrip("/") == own):
        secrets = load_secrets(settings.data_dir)
        key = secrets.api_key if secrets else None
    if key is None and named is not None:
        raise CommandFailed(
            f"No API key for {named}: pass --api-key or set INFERD_API_KEY. If it is an `inferd serve` of this machine "
            f"that was started with another data directory than {settings.data_dir}, set INFERD_DATA_DIR to it.",
            ExitCode.AUTH,
        )
    if key is None:
        raise CommandFailed(
            f"No API is named, and no `inferd serve` has run on {settings.data_dir}. Start one with `inferd serve`. "
            "If one runs that was started with another INFERD_DATA_DIR or --data-dir, set INFERD_DATA_DIR to the same "
            "here. For another API pass --api-url and --api-key, or set INFERD_API_URL and INFERD_API_KEY.",
            ExitCode.AUTH,
        )
    return named or own, key
