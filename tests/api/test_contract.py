"""One meaning, one behaviour: what holds for every operation, and what the document says of all of them."""

from typing import Any

import httpx2
import pytest

from core.domain.ids import ENDPOINT as ENDPOINT_ID
from core.domain.ids import parse, parse_job
from tests.conftest import OwnerPool

JOB: dict[str, Any] = {"model": "echo/echo", "input": "hi"}
ENDPOINT = {"name": "n", "url": "https://example.com/hook", "event_types": ["job.succeeded"]}
ORDER = ["id", "status", "model", "output", "error", "usage", "created_at", "run_at", "started_at", "finished_at"]


class TestMethods:
    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("PUT", "/v1/jobs", "GET, POST"),
            ("GET", "/v1/jobs/bulk", "POST"),
            ("PATCH", "/v1/jobs/job_00000000000070008000000000000000", "DELETE, GET"),
            ("PUT", "/v1/webhook_endpoints/we_x", "DELETE, GET, POST"),
            ("POST", "/livez", "GET"),
        ],
    )
    async def test_a_405_names_every_method_of_its_path(
        self, api: httpx2.AsyncClient, method: str, path: str, allowed: str
    ) -> None:
        refused = await api.request(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
        assert refused.json()["error"]["code"] == "method_not_allowed"


class TestQueries:
    @pytest.mark.parametrize(
        ("path", "param"),
        [
            ("/v1/jobs?state=queued", "state"),
            ("/v1/jobs?metadata[a]=1&metadata[a]=2", "metadata[a]"),
            ("/v1/jobs?metadata[]=1", "metadata[]"),
            ("/v1/jobs?metadata[a=1", "metadata[a"),
            ("/v1/jobs?metadata=1", "metadata"),
            ("/v1/jobs?limit=1&limit=2", "limit"),
            ("/v1/jobs?limit=1_0", "limit"),
            ("/v1/jobs?created_after=5", "created_after"),
            ("/v1/jobs?include=input", "include.0"),
            ("/v1/models?limit=1", "limit"),
            ("/v1/webhook_endpoints?x=1", "x"),
            ("/v1/jobs/job_00000000000070008000000000000000?include=output", "include"),
        ],
    )
    async def test_what_a_query_can_not_have_is_refused_by_name(
        self, api: httpx2.AsyncClient, path: str, param: str
    ) -> None:
        refused = await api.get(path)
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, param)

    async def test_every_problem_of_a_query_is_named(self, api: httpx2.AsyncClient) -> None:
        refused = await api.get("/v1/jobs?limit=007&status=nope&created_after=5")
        message = refused.json()["error"]["message"]
        assert [name for name in ("limit: must be a whole number", "status", "created_after") if name in message] == [
            "limit: must be a whole number", "status", "created_after"
        ], message  # fmt: skip

    async def test_a_submit_takes_no_wait_in_its_query(self, api: httpx2.AsyncClient) -> None:
        assert (await api.post("/v1/jobs?wait=5", json=JOB)).status_code == 422
        assert (await api.get("/v1/jobs")).json()["data"] == []


class TestIdempotencyKeys:
    async def test_two_are_refused_and_nothing_is_stored(self, api: httpx2.AsyncClient) -> None:
        two = [("idempotency-key", "a"), ("idempotency-key", "b")]
        refused = await api.post("/v1/jobs", json=JOB, headers=two)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")
        assert (await api.get("/v1/jobs")).json()["data"] == []

    async def test_they_are_refused_where_nothing_is_created(self, api: httpx2.AsyncClient) -> None:
        job = (await api.post("/v1/jobs", json=JOB)).json()["id"]
        for method, path in (
            ("POST", f"/v1/jobs/{job}/cancel"), ("POST", "/v1/jobs/retry"), ("GET", "/v1/jobs"), ("DELETE", f"/v1/jobs/{job}")
        ):  # fmt: skip
            refused = await api.request(method, path, headers={"idempotency-key": "k"})
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (400, "idempotency_key_not_supported"), path
        assert (await api.get(f"/v1/jobs/{job}")).json()["status"] == "queued"

    async def test_many_jobs_are_created_once(self, api: httpx2.AsyncClient) -> None:
        body = {"jobs": [JOB, JOB, JOB | {"idempotency_key": "own"}]}
        answers = [await api.post("/v1/jobs/bulk", json=body, headers={"idempotency-key": "k"}) for _ in range(2)]
        first, second = ([line["id"] for line in answer.json()["data"]] for answer in answers)
        assert first == second
        assert len(set(first)) == 3
        assert [line["replayed"] for line in answers[1].json()["data"]] == [True, True, True]
        other = await api.post("/v1/jobs/bulk", json={"jobs": [JOB | {"input": "x"}]}, headers={"idempotency-key": "k"})
        assert other.json()["data"][0]["error"]["code"] == "idempotency_key_reused"

    async def test_an_endpoint_is_created_once_and_its_secret_shown_again(self, api: httpx2.AsyncClient) -> None:
        headers = {"idempotency-key": "k"}
        first, second = [await api.post("/v1/webhook_endpoints", json=ENDPOINT, headers=headers) for _ in range(2)]
        assert (first.status_code, second.json()) == (200, first.json())
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"
        other = await api.post("/v1/webhook_endpoints", json=ENDPOINT | {"name": "m"}, headers=headers)
        job = await api.post("/v1/jobs", json=JOB, headers=headers)
        for refused in (other, job):
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "idempotency_key_reused")
        assert len((await api.get("/v1/webhook_endpoints")).json()["data"]) == 1
        rotated = await api.post(f"/v1/webhook_endpoints/{first.json()['id']}/rotate_secret", json={})
        replayed = await api.post("/v1/webhook_endpoints", json=ENDPOINT, headers=headers)
        # The newer secret is for whoever rotated it.
        assert (rotated.status_code, replayed.status_code) == (200, 409)
        assert rotated.json()["signing_secret"] not in replayed.text
        await api.delete(f"/v1/webhook_endpoints/{first.json()['id']}")
        gone = await api.post("/v1/webhook_endpoints", json=ENDPOINT, headers=headers)
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "gone")

    async def test_a_recovery_is_started_once(self, api: httpx2.AsyncClient, owner: OwnerPool) -> None:
        endpoint = (await api.post("/v1/webhook_endpoints", json=ENDPOINT)).json()["id"]
        body = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
        path = f"/v1/webhook_endpoints/{endpoint}/recover"
        first, second = [await api.post(path, json=body, headers={"idempotency-key": "r"}) for _ in range(2)]
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.headers["location"] == second.headers["location"]
        assert second.headers["idempotency-replayed"] == "true"
        await owner.execute("DELETE FROM webhook_recoveries WHERE endpoint_id = $1", parse(ENDPOINT_ID, endpoint))
        gone = await api.post(path, json=body, headers={"idempotency-key": "r"})
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "gone")

    async def test_the_job_of_a_key_may_be_unreadable(self, api: httpx2.AsyncClient, owner: OwnerPool) -> None:
        headers = {"idempotency-key": "damaged"}
        job = (await api.post("/v1/jobs", json=JOB, headers=headers)).json()["id"]
        await owner.execute("UPDATE jobs SET request = '{' WHERE id = $1", parse_job(job))
        again = await api.post("/v1/jobs", json=JOB, headers=headers)
        assert (again.status_code, again.json()["error"]["code"]) == (500, "job_unreadable")


class TestLists:
    async def test_every_list_has_one_shape(self, api: httpx2.AsyncClient) -> None:
        job = (await api.post("/v1/jobs", json=JOB)).json()["id"]
        endpoint = (await api.post("/v1/webhook_endpoints", json=ENDPOINT)).json()["id"]
        for path in (
            "jobs", "models", "webhook_endpoints", "webhook_event_types", f"jobs/{job}/deliveries",
            f"webhook_endpoints/{endpoint}/deliveries",
        ):  # fmt: skip
            listed = (await api.get(f"/v1/{path}")).json()
            assert listed.keys() >= {"object", "data", "has_more", "next_cursor"}, path
            assert (listed["object"], listed["has_more"], listed["next_cursor"]) == ("list", False, None), path

    @pytest.mark.usefixtures("worker")
    async def test_outputs_are_listed_when_they_are_asked_for(self, api: httpx2.AsyncClient) -> None:
        done = (await api.post("/v1/jobs", json=JOB, headers={"prefer": "wait=20"})).json()
        failed = (await api.post("/v1/jobs", json=JOB | {"model": "echo/fail"}, headers={"prefer": "wait=20"})).json()
        listed = (await api.get("/v1/jobs", params={"include": "output"})).json()["data"]
        assert [(job["id"], job["output"]) for job in listed] == [(failed["id"], None), (done["id"], done["output"])]
        assert "output" not in (await api.get("/v1/jobs")).json()["data"][0]

    @pytest.mark.usefixtures("worker")
    async def test_an_output_that_cannot_be_opened_hides_no_neighbour(
        self, api: httpx2.AsyncClient, owner: OwnerPool
    ) -> None:
        whole = (await api.post("/v1/jobs", json=JOB, headers={"prefer": "wait=20"})).json()
        damaged = (await api.post("/v1/jobs", json=JOB, headers={"prefer": "wait=20"})).json()
        await owner.execute("UPDATE results SET output = '{' WHERE job_id = $1", parse_job(damaged["id"]))
        listed = await api.get("/v1/jobs", params={"include": "output"})
        assert listed.status_code == 200
        assert [job["output"] for job in listed.json()["data"]] == [None, whole["output"]]

    async def test_a_job_is_in_a_readers_order(self, api: httpx2.AsyncClient) -> None:
        job = (await api.post("/v1/jobs", json=JOB)).json()
        assert list(job)[: len(ORDER)] == ORDER
        line = (await api.get("/v1/jobs")).json()["data"][0]
        assert list(line)[: len(ORDER) - 1] == [name for name in ORDER if name != "output"]


class TestProblems:
    @pytest.mark.parametrize(
        ("path", "body", "said"),
        [
            (
                "/v1/jobs",
                {"model": "echo/eco", "messages": [], "priority": "high"},
                ("messages: there is no such field (use `input`)", "priority: must be", "input: is required", "echo/echo"),
            ),
            (
                "/v1/jobs",
                JOB | {"webhook": {"url": "http://10.0.0.1/"}, "max_attempts": 2, "retry": {"max_attempts": 3}},
                ("not both", "webhook.url"),
            ),
            (
                "/v1/jobs",
                JOB | {"webhook": {"url": "https://example.com/", "event_types": []}},
                ("webhook.event_types: there is no such field (use `webhook.events`)",),
            ),
            ("/v1/jobs", JOB | {"idempotency_key": "k"}, ("(use the header `Idempotency-Key`)",)),
            (
                "/v1/webhook_endpoints",
                {"name": "n", "url": "https://example.com/", "events": ["job.succeeded"]},
                ("events: there is no such field (use `event_types`)", "event_types: is required"),
            ),
            ("/v1/jobs", {f"f{number}": 1 for number in range(30)}, ("f19: there is no such field; and 12 more.",)),
            ("/v1/jobs", JOB | {"timeout_seconds": 0, "max_attempts": 51}, ("greater than 0", "at most 50")),
        ],
    )  # fmt: skip
    async def test_all_of_a_body_are_named_at_once(
        self, api: httpx2.AsyncClient, path: str, body: dict[str, Any], said: tuple[str, ...]
    ) -> None:
        refused = await api.post(path, json=body)
        message = refused.json()["error"]["message"]
        assert refused.status_code == 422
        assert [part for part in said if part not in message] == [], message
        assert "Input should" not in message

    async def test_a_member_that_is_given_twice_is_refused(self, api: httpx2.AsyncClient) -> None:
        refused = await api.post("/v1/jobs", content=b'{"model": "echo/echo", "input": "a", "input": "b"}')
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (400, "invalid_json")
        assert "`input` twice" in error["message"]


async def _operations(api: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    document = (await api.get("/openapi.json")).json()
    return {each["operationId"]: each for methods in document["paths"].values() for each in methods.values()}


class TestDocument:
    async def test_every_operation_is_described(self, api: httpx2.AsyncClient) -> None:
        found = await _operations(api)
        assert {"jobs_create", "jobs_list", "webhook_endpoints_rotate_secret"} <= found.keys()
        assert not [
            name for name, each in found.items() if not (each["summary"] and each["description"] and each["tags"])
        ]

    async def test_each_lists_the_statuses_that_it_can_answer(self, api: httpx2.AsyncClient) -> None:
        found = await _operations(api)
        statuses = {name: set(each["responses"]) for name, each in found.items()}
        with_key = {"400", "401", "422", "429", "503"}
        assert statuses["livez"] == {"200"}
        assert statuses["jobs_get"] == {"200", "304", "404", "410", "500"} | with_key
        assert statuses["jobs_retry"] == {"202", "404", "409", "410", "500"} | with_key
        assert statuses["jobs_list"] == {"200"} | with_key
        assert statuses["jobs_create"] == {"200", "202", "408", "410", "413", "500"} | with_key
        assert statuses["webhook_endpoints_recover"] == {"202", "404", "408", "409", "410", "413"} | with_key
        assert found["metrics"]["security"] == []
        assert [*found["metrics"]["responses"]["200"]["content"]] == ["text/plain; version=0.0.4; charset=utf-8"]
        assert list(found["jobs_events"]["responses"]["200"]["content"]) == ["text/event-stream"]
