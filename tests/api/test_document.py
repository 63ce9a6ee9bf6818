"""The OpenAPI document is true: Schemathesis sends what it allows and what it forbids, and finds nothing."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conftest import MakeSettings
from tests.support.processes import run_worker, serve_api
from tests.support.tenants import Tenant

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.timeout(180)
async def test_the_api_is_as_its_document_says(
    stack: AsyncExitStack, make_settings: MakeSettings, tenant: Tenant, tmp_path: Path
) -> None:
    settings = make_settings(api={"max_wait_seconds": 0.01})
    # Jobs end, and with them the streams of their events.
    await stack.enter_async_context(run_worker(settings))
    running = await stack.enter_async_context(serve_api(settings))
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{running.url}/openapi.json",
        "--header", f"Authorization:Bearer {tenant.key}", "--no-color",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        # Where it keeps a cache.
        cwd=tmp_path,
    )  # fmt: skip
    output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()
