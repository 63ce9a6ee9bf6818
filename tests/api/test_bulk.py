"""Cancelling and retrying every job that matches a filter."""

import httpx2

from tests.conftest import OwnerPool
from tests.support.processes import RunningWorker
from tests.support.tenants import Tenant

JOB: dict[str, object] = {"model": "echo/echo", "input": "hi"}


async def _submit(api: httpx2.AsyncClient, count: int, **fields: object) -> list[str]:
    return [(await api.post("/v1/jobs", json=JOB | fields)).json()["id"] for _ in range(count)]


async def _states(api: httpx2.AsyncClient, ids: list[str]) -> list[str]:
    return [(await api.get(f"/v1/jobs/{job_id}")).json()["status"] for job_id in ids]


async def test_only_what_matches_is_cancelled(api: httpx2.AsyncClient, other_tenant: Tenant) -> None:
    mine = await _submit(api, 3, metadata={"batch": "a"})
    kept = await _submit(api, 2, metadata={"batch": "b"})
    theirs = await api.post("/v1/jobs", json=JOB | {"metadata": {"batch": "a"}}, headers=other_tenant.authorization)
    answer = await api.post("/v1/jobs/cancel", json={"metadata": {"batch": "a"}})
    assert (answer.status_code, answer.json()) == (200, {"object": "bulk_cancel", "changed": 3, "has_more": False})
    assert await _states(api, mine) == ["cancelled"] * 3
    assert await _states(api, kept) == ["queued"] * 2
    other = await api.get(theirs.headers["location"], headers=other_tenant.authorization)
    assert other.json()["status"] == "queued"


async def test_a_limit_leaves_the_rest_and_says_so(api: httpx2.AsyncClient) -> None:
    await _submit(api, 5)
    first = (await api.post("/v1/jobs/cancel", json={"all": True, "limit": 3})).json()
    second = (await api.post("/v1/jobs/cancel", json={"all": True, "limit": 2})).json()
    assert (first["changed"], first["has_more"]) == (3, True)
    assert (second["changed"], second["has_more"]) == (2, False)


async def test_more_than_one_batch_of_rows(api: httpx2.AsyncClient) -> None:
    for _ in range(41):
        await _submit(api, 5)
    answer = (await api.post("/v1/jobs/cancel", json={"status": ["queued"]})).json()
    assert (answer["changed"], answer["has_more"]) == (205, False)


async def test_what_ended_without_an_answer_runs_again(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    failed = (await api.post("/v1/jobs", json=JOB | {"model": "echo/fail"}, headers={"prefer": "wait=20"})).json()
    done = (await api.post("/v1/jobs", json=JOB, headers={"prefer": "wait=20"})).json()
    answer = (await api.post("/v1/jobs/retry", json={"all": True})).json()
    assert answer == {"object": "bulk_retry", "changed": 1, "has_more": False}
    again = (await api.get(f"/v1/jobs/{failed['id']}", params={"wait": "20"})).json()
    assert [attempt["run"] for attempt in again["attempts"]] == [1, 2]
    assert (await api.get(f"/v1/jobs/{done['id']}")).json() == done


async def test_states_that_can_not_be_changed_change_nothing(api: httpx2.AsyncClient) -> None:
    await _submit(api, 1)
    assert (await api.post("/v1/jobs/cancel", json={"status": ["succeeded"]})).json()["changed"] == 0
    assert (await api.post("/v1/jobs/retry", json={"status": ["queued"]})).json()["changed"] == 0


async def test_a_filter_must_be_said(api: httpx2.AsyncClient) -> None:
    await _submit(api, 1)
    empty: tuple[dict[str, object], ...] = (
        {"status": []},
        {"metadata": {}},
        {"model": None},
        {"created_after": None, "created_before": None},
    )
    no_numbers = ({"all": True, "limit": "5"}, {"all": True, "limit": True})
    for body in ({}, {"all": False}, {"limit": 5}, {"state": ["queued"]}, {"all": "yes"}, *empty, *no_numbers):
        answer = await api.post("/v1/jobs/cancel", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_parameter"), body


class TestSubmit:
    async def test_each_line_has_its_own_outcome(self, api: httpx2.AsyncClient) -> None:
        lines: list[dict[str, object]] = [
            JOB,
            {"model": "echo/eco", "input": "hi"},
            {"model": "echo/echo"},
            JOB | {"idempotency_key": "k"},
            JOB | {"idempotency_key": "k"},
            JOB | {"idempotency_key": "k", "input": "other"},
            JOB | {"idempotency_key": 5},
            JOB | {"webhook": {"url": "http://10.0.0.1/x"}},
        ]
        answer = await api.post("/v1/jobs/bulk", json={"jobs": lines})
        body = answer.json()
        assert (answer.status_code, body["accepted"], body["refused"]) == (200, 3, 5)
        assert [line["index"] for line in body["data"]] == list(range(8))
        codes = [line["error"] and line["error"]["code"] for line in body["data"]]
        assert codes == [
            None, "model_not_found", "invalid_parameter", None, None, "idempotency_key_reused", "invalid_parameter",
            "invalid_webhook_url",
        ]  # fmt: skip
        assert body["data"][3]["id"] == body["data"][4]["id"]
        assert [body["data"][index]["replayed"] for index in (0, 3, 4)] == [False, False, True]
        assert len((await api.get("/v1/jobs")).json()["data"]) == 2

    async def test_a_thousand_at_once(self, api: httpx2.AsyncClient) -> None:
        body = (await api.post("/v1/jobs/bulk", json={"jobs": [JOB] * 1000})).json()
        assert (body["accepted"], len({line["id"] for line in body["data"]})) == (1000, 1000)

    async def test_no_line_and_too_many_are_refused_whole(self, api: httpx2.AsyncClient) -> None:
        for lines in ([], [JOB] * 1001, [5], "x"):
            answer = await api.post("/v1/jobs/bulk", json={"jobs": lines})
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_parameter")
        assert (await api.get("/v1/jobs")).json()["data"] == []

    async def test_a_replay_needs_no_second_look(self, api: httpx2.AsyncClient) -> None:
        lines = [JOB | {"idempotency_key": key} for key in ("a", "b", "c")]
        first = (await api.post("/v1/jobs/bulk", json={"jobs": lines})).json()["data"]
        await api.post(f"/v1/jobs/{first[0]['id']}/cancel")
        await api.delete(f"/v1/jobs/{first[1]['id']}")
        again = (await api.post("/v1/jobs/bulk", json={"jobs": lines})).json()["data"]
        assert [(line["status"], line["error"] and line["error"]["code"]) for line in again] == [
            ("cancelled", None), (None, "gone"), ("queued", None),
        ]  # fmt: skip

    async def test_a_row_that_postgres_refuses_fails_its_own_line(
        self, api: httpx2.AsyncClient, owner: OwnerPool
    ) -> None:
        """Whatever it is: the lines that are stored are told as stored, and no other is."""
        await owner.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '22008'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON jobs FOR EACH ROW WHEN (NEW.max_attempts = 49)
            EXECUTE FUNCTION refuse();
            """
        )
        try:
            lines = [JOB, JOB | {"max_attempts": 49}, JOB, JOB | {"max_attempts": 48}]
            answer = await api.post("/v1/jobs/bulk", json={"jobs": lines})
        finally:
            await owner.execute("DROP TRIGGER refuse ON jobs; DROP FUNCTION refuse()")
        data = answer.json()["data"]
        assert (answer.status_code, [line["error"] and line["error"]["code"] for line in data]) == (
            200, [None, "internal_error", None, None],
        )  # fmt: skip
        stored = {f"job_{row['id'].hex}" for row in await owner.fetch("SELECT id FROM jobs")}
        assert stored == {line["id"] for line in data if line["id"]}
