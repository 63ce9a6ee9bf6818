"""The OpenAPI document is true: Schemathesis sends what it allows and what it forbids, and finds nothing."""

import asyncio
import sys
from pathlib import Path

from tests.support.processes import RunningApi
from tests.support.tenants import Tenant

CONFIG = Path(__file__).with_name("schemathesis.toml")


async def test_the_api_is_as_its_document_says(shared_api: RunningApi, tenant: Tenant) -> None:
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{shared_api.url}/openapi.json",
        "--header", f"Authorization:Bearer {tenant.key}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await run.communicate()
    assert run.returncode == 0, output.decode()
