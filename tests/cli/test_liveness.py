"""The health check asks the right address, quickly, and says nothing when all is well."""

import subprocess
import sys

import pytest

from cli.operate import liveness
from core.settings import ApiSettings
from tests.cli.conftest import Invoke
from tests.cli.scripted_api import ScriptedApi


@pytest.fixture
def port(api: ScriptedApi) -> str:
    return api.url.rpartition(":")[2]


@pytest.mark.parametrize("host", ["", "127.0.0.1", "0.0.0.0"])  # noqa: S104 - what a container listens on
def test_an_api_that_lives_is_0(
    host: str, port: str, api: ScriptedApi, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERD_API_HOST", host)
    monkeypatch.setenv("INFERD_API_PORT", port)
    api.say("GET", "/livez", 200, {"status": "ok"})
    outcome = invoke("doctor", "--live")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "", "")


def test_a_worker_is_asked_at_its_metrics_port(
    port: str, api: ScriptedApi, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERD_WORKER_METRICS_PORT", port)
    api.say("GET", "/livez", 200, b"ok\n", "text/plain")
    assert invoke("doctor", "--live", "worker").exit_code == 0
    # The words in another order take the long way round, to the same end.
    assert invoke("doctor", "worker", "--live").exit_code == 0


def test_a_worker_without_a_port_says_what_to_set(invoke: Invoke) -> None:
    outcome = invoke("doctor", "--live", "worker")
    assert outcome.exit_code == 2
    assert "INFERD_WORKER_METRICS_PORT" in outcome.stderr


def test_an_unknown_role_is_2(invoke: Invoke) -> None:
    assert invoke("doctor", "--live", "postgres").exit_code == 2


def test_one_that_is_ill_is_1(port: str, api: ScriptedApi, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_API_PORT", port)
    api.say("GET", "/livez", 500, {})
    assert "returns HTTP 500" in invoke("doctor", "--live").stderr


@pytest.mark.parametrize("port", ["1", "x", "99999"])
def test_nobody_there_is_1(port: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_API_PORT", port)
    outcome = invoke("doctor", "--live")
    assert outcome.exit_code == 1
    assert "nothing responds at 127.0.0.1:" in outcome.stderr


def test_its_defaults_are_those_of_the_settings() -> None:
    settings = ApiSettings()
    assert (settings.host, str(settings.port)) == (liveness._DEFAULT_HOST, liveness._DEFAULT_PORT)


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["doctor", "--live"], ["typer", "pydantic", "rich", "asyncio"]),
        (["--help"], ["aiohttp", "asyncpg", "httpx2", "sqlalchemy", "structlog", "pydantic_settings"]),
    ],
)
def test_what_must_be_quick_loads_little(arguments: list[str], forbidden: list[str]) -> None:
    program = (
        f"import sys; sys.argv = ['inferd', *{arguments!r}]\n"
        "from local.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"loaded = set(sys.modules) & set({forbidden!r})\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
