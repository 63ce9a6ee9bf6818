"""What the README shows is what happens: its submits and its receiver run as they stand, against a real API and worker."""

import asyncio
import os
import re
import shlex
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise

import httpx2
import pytest

from local.processes import free_port
from tests.architecture.repository import ROOT, read
from tests.conftest import MakeSettings
from tests.support.processes import RunningApi, run_worker, serve_api
from tests.support.tenants import Tenant
from tests.support.waiting import eventually

_PYTHON = re.findall(r"(?ms)^```python\n(.*?)^```$", read("README.md"))
_CURL = re.search(r"(?ms)^```sh\n(curl .*?)^```$", read("README.md"))
_API = "http://127.0.0.1:8700"
_RECEIVER_PORT = 9000


@pytest.fixture
async def running(make_settings: MakeSettings, stack: AsyncExitStack) -> RunningApi:
    settings = make_settings(webhook={"allow_http": True, "allow_cidrs": ["127.0.0.0/8"]})
    await stack.enter_async_context(run_worker(settings))
    return await stack.enter_async_context(serve_api(settings))


@asynccontextmanager
async def _python(code: str, **environment: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", code, cwd=ROOT, env={**os.environ, **environment}, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_the_python_example_gets_its_answer(running: RunningApi, tenant: Tenant) -> None:
    code = _PYTHON[0].replace(_API, running.url)
    assert code != _PYTHON[0]
    async with _python(code, INFERD_API_KEY=tenant.key) as process:
        printed, complaints = await process.communicate()
    assert printed.decode() == "succeeded 3 Third time lucky\n", complaints.decode()


async def test_the_receiver_verifies_the_job_of_the_curl_example(running: RunningApi, tenant: Tenant) -> None:
    port = free_port("127.0.0.1")
    code = _PYTHON[1].replace(str(_RECEIVER_PORT), str(port))
    async with _python(code, WEBHOOK_SECRET=tenant.webhook_secret) as receiver:
        await eventually(lambda: _listens(port), what="the receiver listens")
        job = await _submit_by_curl(running, tenant, port)
        assert receiver.stdout is not None
        line = await asyncio.wait_for(receiver.stdout.readline(), 20)
    assert line.decode() == f"job.succeeded {job}\n"


async def _submit_by_curl(running: RunningApi, tenant: Tenant, port: int) -> str:
    """Sends what the command would: nobody promised that curl is installed."""
    assert _CURL is not None
    words = shlex.split(_CURL[1].replace("\\\n", " "))
    headers = dict(word.lower().split(": ", 1) for flag, word in pairwise(words) if flag == "-H")
    assert headers["authorization"] == "bearer $inferd_api_key"
    body = (
        words[words.index("-d") + 1].replace(str(_RECEIVER_PORT), str(port)).replace("local/smollm2-135m", "echo/echo")
    )
    async with httpx2.AsyncClient(trust_env=False, timeout=40) as client:
        answer = await client.post(
            words[1].replace(_API, running.url), headers={**headers, **tenant.authorization}, content=body
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
