"""The production roles, each a process of its own: `inferd api`, `inferd worker`, and their health checks."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest

from core.settings import Settings
from local.processes import free_port
from tests.journeys.serving import INFERD
from tests.support.explicit_settings import environment_of
from tests.support.forked import fork
from tests.support.tenants import Tenant
from tests.support.waiting import eventually
from tests.worker.proxy import open_proxy, through


@contextmanager
def role(name: str, environment: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Started, and killed at the end if it still runs."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([INFERD, name], env=dict(environment), cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def command(environment: Mapping[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [INFERD, *arguments], env=dict(environment), cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(180)
async def test_an_api_and_a_worker_serve_say_that_they_live_and_stop_when_told(
    settings: Settings, tenant: Tenant, stack: AsyncExitStack, tmp_path: Path
) -> None:
    port, metrics_port = free_port("127.0.0.1"), free_port("127.0.0.1")
    environment = {
        **os.environ,
        **environment_of(settings),
        "INFERD_API_PORT": str(port),
        "INFERD_WORKER_METRICS_PORT": str(metrics_port),
        "INFERD_API_URL": f"http://127.0.0.1:{port}",
        "INFERD_API_KEY": tenant.key,
    }

    inferd = partial(command, environment, tmp_path)
    assert inferd("doctor", "--live").returncode == 1
    started = {name: stack.enter_context(role(name, environment, tmp_path)) for name in ("api", "worker")}
    async with httpx2.AsyncClient(trust_env=False) as http:

        async def both_live() -> bool:
            try:
                answers = [await http.get(f"http://127.0.0.1:{each}/livez") for each in (port, metrics_port)]
            except httpx2.HTTPError:
                return False
            return all(answer.is_success for answer in answers)

        await eventually(both_live, seconds=60, what="the API and the worker live")
    assert inferd("doctor", "--live").returncode == 0
    assert inferd("doctor", "--live", "worker").returncode == 0

    done = inferd("run", "Hi", "--model", "echo/echo", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"]["text"] == "Hi"

    for name, process in started.items():
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (name, (tmp_path / f"{name}.log").read_text())


async def test_sigterm_ends_an_api_whose_postgresql_does_not_respond(
    settings: Settings, tenant: Tenant, stack: AsyncExitStack, tmp_path: Path
) -> None:
    proxy, port = await stack.enter_async_context(open_proxy(settings.database)), free_port("127.0.0.1")
    environment = {**os.environ, **environment_of(through(settings, proxy)), "INFERD_API_PORT": str(port)}
    process = fork("api.main", environment, tmp_path)
    stack.callback(process.kill)
    async with httpx2.AsyncClient(trust_env=False, headers=tenant.authorization, timeout=30) as http:

        async def answers() -> bool:
            try:
                return (await http.get(f"http://127.0.0.1:{port}/v1/jobs")).is_success
            except httpx2.HTTPError:
                return False

        await eventually(answers, seconds=60, what="the API answers")
        proxy.hang()
        stuck = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/v1/jobs?limit=1"))
        await asyncio.wait([stuck], timeout=0.5)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await asyncio.to_thread(process.wait) == 0
        await asyncio.gather(stuck, return_exceptions=True)


@pytest.mark.parametrize(("name", "variable"), [("api", "INFERD_API_PORT"), ("worker", "INFERD_WORKER_METRICS_PORT")])
def test_a_busy_port_ends_it_at_once_and_is_named(name: str, variable: str, settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {**os.environ, **environment_of(settings), variable: str(port)}
        assert fork(f"{name}.main", environment, tmp_path, tmp_path / f"{name}.log").wait() == 3
    said = (tmp_path / f"{name}.log").read_text()
    assert f"{port}: Address already in use" in said
    assert variable in said
    # Nothing before it speaks of a start that did not succeed.
    assert "startup" not in said
    assert "Traceback" not in said
