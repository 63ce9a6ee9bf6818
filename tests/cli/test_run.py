"""`inferd run` against a scripted server: what it sends, what it shows where, and every exit code."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli import saved
from local.embedded.folders import make_root, make_serve_folder
from tests.cli.conftest import Invoke
from tests.cli.scripted_api import JOB_ID, ScriptedApi, attempt, error, job

KEY = "inf_live_key"


@pytest.fixture
def target(api: ScriptedApi) -> list[str]:
    return ["--model", "echo/echo", "--api-url", api.url, "--api-key", KEY]


def test_the_answer_is_on_stdout_and_the_states_are_on_stderr(
    api: ScriptedApi, invoke: Invoke, target: list[str]
) -> None:
    tried = attempt(1, "retried", "provider_unavailable", http_status=503, wait_seconds=0.25)
    api.submitted(
        job("queued"),
        job("running"),
        job("queued", attempts_used=1, attempts=[tried]),
        job("running", attempts_used=2, attempts=[tried]),
        job("succeeded", attempts_used=2, attempts=[tried, attempt(2, "succeeded")]),
    )
    outcome = invoke("run", "Say hello", *target)
    assert (outcome.exit_code, outcome.stdout) == (0, "Hello [you]\n")
    assert outcome.stderr.splitlines() == [
        f"{JOB_ID}  queued",
        f"{JOB_ID}  running",
        f"{JOB_ID}  attempt 1: provider_unavailable (HTTP 503); again in 0.2 s",
        f"{JOB_ID}  queued",
        f"{JOB_ID}  running (attempt 2)",
        f"{JOB_ID}  succeeded",
        "2 attempts · queued for 3 ms · ran for 7 ms · 2 tokens in, 3 out",
    ]


def test_it_sends_what_the_options_say(api: ScriptedApi, invoke: Invoke, target: list[str]) -> None:
    api.submitted(job("succeeded"))
    options = ["--param", "max_tokens=5", "--param", "stop=a=b", "--metadata", "team=1", "--priority", "batch"]
    assert invoke("run", "Hi", *target, *options, "--idempotency-key", "once").exit_code == 0
    (asked,) = api.asked
    assert asked.body == {
        "model": "echo/echo",
        "input": "Hi",
        "params": {"max_tokens": 5, "stop": "a=b"},
        "metadata": {"team": "1"},
        "priority": "batch",
    }
    assert (asked.headers["authorization"], asked.headers["idempotency-key"]) == (f"Bearer {KEY}", "once")


def test_without_waiting_the_id_is_printed(api: ScriptedApi, invoke: Invoke, target: list[str]) -> None:
    api.submitted(job("queued"))
    outcome = invoke("run", "Hi", *target, "--no-wait")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, f"{JOB_ID}\n", "")
    assert len(api.asked) == 1


def test_json_is_the_whole_job_and_alone_on_stdout(api: ScriptedApi, invoke: Invoke, target: list[str]) -> None:
    api.submitted(job("queued"), job("failed"))
    outcome = invoke("run", "Hi", *target, "-o", "json")
    assert outcome.exit_code == 1
    assert json.loads(outcome.stdout) == job("failed")


@pytest.mark.parametrize(("status", "word"), [("failed", "failed"), ("cancelled", "was cancelled"), ("expired", "exp")])
def test_a_job_that_did_not_succeed_is_1_and_says_why(
    status: str, word: str, api: ScriptedApi, invoke: Invoke, target: list[str]
) -> None:
    api.submitted(job("queued"), job(status, error=job("failed")["error"]))
    outcome = invoke("run", "Hi", *target)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert f"The job {JOB_ID} {word}" in outcome.stderr
    assert "It is wrong.\nChange it." in outcome.stderr


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "invalid_request", 2),
        (422, "model_not_found", 2),
        (409, "conflict", 2),
        (401, "invalid_api_key", 4),
        (403, "permission_denied", 4),
        (404, "not_found", 3),
        (410, "gone", 3),
        (429, "queue_full", 5),
        (500, "internal_error", 5),
        (503, "unavailable", 5),
    ],
)
def test_a_refusal_says_what_the_api_said(
    status: int, code: str, exit_code: int, api: ScriptedApi, invoke: Invoke, target: list[str]
) -> None:
    api.say("POST", "/v1/jobs", status, error(code, "Because of this."))
    outcome = invoke("run", "Hi", *target)
    assert (outcome.exit_code, outcome.stdout) == (exit_code, "")
    assert "Because of this." in outcome.stderr
    assert ("req_1" in outcome.stderr) == (status >= 500)


@pytest.mark.parametrize(
    ("body", "kind"), [(b"<html>", "text/html"), (b"[]", "application/json"), (b"{", "application/json")]
)
def test_who_does_not_answer_like_the_api_is_5(
    body: bytes, kind: str, api: ScriptedApi, invoke: Invoke, target: list[str]
) -> None:
    api.say("POST", "/v1/jobs", 200, body, kind)
    outcome = invoke("run", "Hi", *target)
    assert outcome.exit_code == 5
    assert "not a response of inferd's API" in outcome.stderr


def test_an_object_that_is_no_job_is_5(api: ScriptedApi, invoke: Invoke, target: list[str]) -> None:
    api.say("POST", "/v1/jobs", 202, {"id": 1})
    outcome = invoke("run", "Hi", *target)
    assert outcome.exit_code == 5
    assert "is not a job" in outcome.stderr


def test_nobody_there_is_5(invoke: Invoke) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outcome = invoke("run", "Hi", "-m", "echo/echo", "--api-url", f"http://127.0.0.1:{port}", "--api-key", KEY)
    assert outcome.exit_code == 5
    assert "inferd serve" in outcome.stderr


def test_the_timeout_is_124_and_names_the_commands_for_the_job(
    api: ScriptedApi, invoke: Invoke, target: list[str]
) -> None:
    api.submitted(job("queued"), job("running"))
    outcome = invoke("run", "Hi", *target, "--timeout", "0.5", "-o", "json")
    assert outcome.exit_code == 124
    assert json.loads(outcome.stdout)["status"] == "running"
    for action in ("wait", "cancel"):
        assert f"inferd jobs {action} {JOB_ID} --api-url {api.url}\n" in outcome.stderr
    assert KEY not in outcome.stderr


def test_it_holds_on_while_the_api_restarts(api: ScriptedApi, invoke: Invoke, target: list[str]) -> None:
    api.submitted(job("queued"))
    api.say("GET", f"/v1/jobs/{JOB_ID}", 503, error("unavailable", "The server is shutting down."))
    api.say("GET", f"/v1/jobs/{JOB_ID}", 200, job("succeeded"))
    outcome = invoke("run", "Hi", *target)
    assert (outcome.exit_code, outcome.stdout) == (0, "Hello [you]\n")


def test_a_job_that_is_deleted_meanwhile_is_3(api: ScriptedApi, invoke: Invoke, target: list[str]) -> None:
    api.submitted(job("queued"))
    api.say("GET", f"/v1/jobs/{JOB_ID}", 410, error("gone", "It was deleted."))
    outcome = invoke("run", "Hi", *target)
    assert outcome.exit_code == 3
    assert "It was deleted." in outcome.stderr


def test_ctrl_c_leaves_the_job_running_and_names_it(api: ScriptedApi, target: list[str], own_folder: Path) -> None:
    api.submitted(job("queued"), job("running"))
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from local.main import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "run", "Hi", *target], stderr=subprocess.PIPE, text=True, cwd=own_folder
    ) as command:
        assert command.stderr is not None
        said = iter(command.stderr.readline, "")
        assert any("running" in line for line in said)
        command.send_signal(signal.SIGINT)
        rest = command.stderr.read()
        assert command.wait(20) == 130
    assert f"The job {JOB_ID} is running and continues on the server." in rest
    assert "Traceback" not in rest
    assert {asked.method for asked in api.asked[1:]} == {"GET"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "Hi"],
        ["run", "Hi", "-m", "echo/echo", "--param", "x"],
        ["run", "Hi", "-m", "echo/echo", "--metadata", "=x"],
        ["run", "Hi", "-m", "echo/echo", "--priority", "urgent"],
        ["run", "Hi", "-m", "echo/echo", "--api-url", "ftp://x", "--api-key", "k"],
        ["run", "Hi", "-m", "echo/echo", "--timeout", "0"],
        ["rnu"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], invoke: Invoke) -> None:
    outcome = invoke(*arguments)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr


class TestWhichServerAndKey:
    """--api-url and --api-key, then INFERD_API_URL and INFERD_API_KEY, then the `inferd serve` of the data directory."""

    @pytest.fixture
    def served(self, api: ScriptedApi, own_folder: Path) -> None:
        make_root(own_folder / "inferd")
        make_serve_folder(own_folder / "inferd")
        saved.save_secrets(own_folder / "inferd", saved.Secrets(saved.new_master_key(), "inf_live_development"))
        saved.save_running(own_folder / "inferd", saved.Running(api.url, "x", "x", "x"))
        api.submitted(job("succeeded"))

    @pytest.mark.usefixtures("served")
    def test_without_any_it_is_the_serve_of_the_data_directory(self, api: ScriptedApi, invoke: Invoke) -> None:
        assert invoke("run", "Hi", "-m", "echo/echo").exit_code == 0
        assert api.asked[0].headers["authorization"] == "Bearer inf_live_development"

    @pytest.mark.usefixtures("served")
    def test_variables_come_before_it(self, api: ScriptedApi, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INFERD_API_URL", api.url + "/")
        monkeypatch.setenv("INFERD_API_KEY", "inf_live_variable")
        assert invoke("run", "Hi", "-m", "echo/echo").exit_code == 0
        assert api.asked[0].headers["authorization"] == "Bearer inf_live_variable"

    @pytest.mark.usefixtures("served")
    def test_the_development_key_goes_to_no_other_server(self, api: ScriptedApi, invoke: Invoke) -> None:
        elsewhere = api.url.replace("127.0.0.1", "localhost")
        outcome = invoke("run", "Hi", "-m", "echo/echo", "--api-url", elsewhere)
        assert outcome.exit_code == 4
        assert "INFERD_API_KEY" in outcome.stderr
        assert not api.asked

    def test_in_a_terminal_without_the_servers_data_directory_it_says_what_to_set(
        self, invoke: Invoke, own_folder: Path
    ) -> None:
        outcome = invoke("run", "Hi", "-m", "echo/echo")
        assert outcome.exit_code == 5
        for word in (f"{own_folder}/inferd", "INFERD_DATA_DIR", "--data-dir", "--api-key", "INFERD_API_KEY"):
            assert word in outcome.stderr

    @pytest.mark.usefixtures("served")
    def test_a_key_of_another_data_directory_is_said_to_be_one(self, api: ScriptedApi, invoke: Invoke) -> None:
        api.say("POST", "/v1/jobs", 401, error("invalid_api_key", "Unknown."))
        api.say("POST", "/v1/jobs", 401, error("invalid_api_key", "Unknown."))
        invoke("run", "Hi", "-m", "echo/echo")
        outcome = invoke("run", "Hi", "-m", "echo/echo")
        assert outcome.exit_code == 4
        assert "the key of the `inferd serve` on INFERD_DATA_DIR" in outcome.stderr
