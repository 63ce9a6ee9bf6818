"""Cancelling and retrying every job that matches a filter."""

import httpx2

from tests.support.processes import RunningWorker
from tests.support.tenants import Tenant

JOB = {"model": "echo/echo", "input": "hi"}


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
    second = (await api.post("/v1/jobs/cancel", json={"all": True, "limit": 3})).json()
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
    for body in ({}, {"all": False}, {"limit": 5}, {"state": ["queued"]}, {"all": "yes"}):
        answer = await api.post("/v1/jobs/cancel", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_parameter"), body
