"""Which API a client command calls, and with which key. Used by `inferd run`, `jobs` and `webhooks`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cli.client.http import ApiClient, parse_url
from cli.configuration import storeless_settings
from cli.exit_codes import CommandFailed, ExitCode
from cli.saved import load_running, load_secrets
from core.settings import Settings

Result = TypeVar("Result")


def call(work: Callable[[ApiClient], Awaitable[Result]], *, api_url: str | None, api_key: str | None) -> Result:
    """Returns what `work` returns, with a client of the API that the options name. Raises CommandFailed."""

    async def run() -> Result:
        async with ApiClient(*find_target(storeless_settings(), api_url, api_key)) as api:
            return await work(api)

    return asyncio.run(run())


def find_target(settings: Settings, api_url: str | None, api_key: str | None) -> tuple[str, str]:
    """Returns the URL and the key: from the options, else the settings, else those of the `inferd serve` that runs."""
    running = load_running(settings.data_dir)
    url = api_url or settings.api.url
    key = api_key or (settings.api.key.get_secret_value() if settings.api.key else None)
    if url is not None:
        parse_url(url)
    elif running is not None:
        url = running.api_url
    elif key is not None:
        # Beside an `inferd api`, as in its container.
        url = f"http://{settings.api.host}:{settings.api.port}"
    else:
        raise CommandFailed(
            f"No `inferd serve` runs on {settings.data_dir}. Start one with `inferd serve`. If one was started with "
            "another INFERD_DATA_DIR or --data-dir, set INFERD_DATA_DIR to the same here. For another API pass "
            "--api-url and --api-key, or set INFERD_API_URL and INFERD_API_KEY.",
            ExitCode.UNREACHABLE,
        )
    # The development key is sent to no other server than the one that made it.
    if key is None and running is not None and url.rstrip("/") == running.api_url:
        secrets = load_secrets(settings.data_dir)
        key = secrets.api_key if secrets else None
    if key is None:
        raise CommandFailed(
            f"No API key for {url}: pass --api-key or set INFERD_API_KEY. If it is an `inferd serve` on this machine "
            f"that was started with another data directory than {settings.data_dir}, set INFERD_DATA_DIR to it.",
            ExitCode.AUTH,
        )
    return url, key
