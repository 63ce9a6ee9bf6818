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
