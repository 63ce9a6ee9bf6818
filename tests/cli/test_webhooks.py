"""`inferd webhooks` against scripted answers: what becomes of an error's code, and how pages follow each other."""

import pytest

from tests.cli.conftest import Invoke
from tests.cli.scripted_api import ScriptedApi, error

ENDPOINT = "we_1"


@pytest.mark.parametrize(("code", "exit_code"), [("webhook_unanswered", 1), ("another_code", 2)])
def test_a_test_that_was_not_answered_fails_by_its_code(
    code: str, exit_code: int, api: ScriptedApi, invoke: Invoke
) -> None:
    api.say("POST", f"/v1/webhook_endpoints/{ENDPOINT}/test", 424, error(code, "In other words."))
    outcome = invoke("webhooks", "endpoints", "test", ENDPOINT, "--api-url", api.url, "--api-key", "k")
    assert (outcome.exit_code, outcome.stdout) == (exit_code, "")
    assert "In other words." in outcome.stderr


@pytest.mark.parametrize(
    ("of", "path"), [(ENDPOINT, f"/v1/webhook_endpoints/{ENDPOINT}/deliveries"), ("job_1", "/v1/jobs/job_1/deliveries")]
)
def test_the_next_page_of_deliveries_is_a_command_to_paste(
    of: str, path: str, api: ScriptedApi, invoke: Invoke
) -> None:
    api.say("GET", path, 200, {"object": "list", "data": [], "has_more": True, "next_cursor": "dlv_2"})
    api.say("GET", path, 200, {"object": "list", "data": [], "has_more": False, "next_cursor": None})
    options = ("--status", "exhausted", "--limit", "1", "--after", "dlv_1")
    first, second = (
        invoke("webhooks", "deliveries", of, *options, "--api-url", api.url, "--api-key", "k") for _ in range(2)
    )
    assert {asked.path for asked in api.asked} == {f"{path}?limit=1&status=exhausted&after=dlv_1"}
    assert f"webhooks deliveries {of} --limit 1 --status exhausted --after dlv_2" in first.stderr
    assert "More:" not in second.stderr


@pytest.mark.parametrize("command", [("endpoints", "list"), ("deliveries", ENDPOINT), ("deliveries", "dlv_1")])
def test_another_server_is_named_as_such(command: tuple[str, ...], api: ScriptedApi, invoke: Invoke) -> None:
    """200 and a JSON object, in which what is needed is missing."""
    for path in ("webhook_endpoints", f"webhook_endpoints/{ENDPOINT}/deliveries", "webhook_deliveries/dlv_1"):
        api.say("GET", f"/v1/{path}", 200, {"log": []} if "dlv" in path else {})
    outcome = invoke("webhooks", *command, "--api-url", api.url, "--api-key", "k")
    assert (outcome.exit_code, outcome.stdout) == (5, "")
    assert "is it another version of inferd?" in outcome.stderr


@pytest.mark.parametrize(
    ("log", "exit_code", "said"),
    [
        ([], 124, "no worker has sent it within 0.001 s"),
        ([{"attempt": 2, "http_status": None, "error": "unreachable"}], 1, "the last one: unreachable"),
        ([{"attempt": 2, "http_status": 500, "error": "status"}], 1, "the last one: HTTP 500"),
    ],
)
def test_a_redelivery_is_judged_by_its_own_attempt(
    log: list[object], exit_code: int, said: str, api: ScriptedApi, invoke: Invoke
) -> None:
    """Whatever the attempts before it were answered with."""
    found = {"id": "dlv_1", "status": "pending", "attempts": 1 + len(log), "http_status": 500, "error": "status"}
    api.say("GET", "/v1/webhook_deliveries/dlv_1", 200, found | {"attempts": 1, "log": []})
    api.say("POST", "/v1/webhook_deliveries/dlv_1/redeliver", 202, found | {"log": log})
    outcome = invoke("webhooks", "redeliver", "dlv_1", "--timeout", "0.001", "--api-url", api.url, "--api-key", "k")
    assert (outcome.exit_code, said in outcome.stdout) == (exit_code, True), outcome
