"""Cancel, retry and delete over HTTP."""

import httpx2

from tests.support.processes import RunningWorker

JOB = {"model": "echo/echo", "input": "hi"}


async def test_a_queued_job_is_cancelled_at_once(api: httpx2.AsyncClient) -> None:
    url = (await api.post("/v1/jobs", json=JOB)).headers["location"]
    cancelled = await api.post(f"{url}/cancel")
    job = cancelled.json()
    assert (cancelled.status_code, job["status"], job["error"]["code"]) == (200, "cancelled", "cancelled")
    assert job["finished_at"] is not None
    again = await api.post(f"{url}/cancel")
    assert (again.status_code, again.json()) == (200, job)


async def test_a_running_job_is_cancelled_and_stays_so(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    url = (await api.post("/v1/jobs", json=JOB | {"model": "echo/timeout"})).headers["location"]
    while (await api.get(url)).json()["status"] == "queued":
        pass
    job = (await api.post(f"{url}/cancel")).json()
    assert (job["status"], job["attempts"][0]["outcome"]) == ("cancelled", "cancelled")


async def test_cancelling_a_finished_job_changes_nothing(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    done = (await api.post("/v1/jobs", json=JOB, headers={"prefer": "wait=20"})).json()
    answer = await api.post(f"/v1/jobs/{done['id']}/cancel")
    assert (answer.status_code, answer.json()) == (200, done)


async def test_a_failed_job_runs_again_under_the_same_id(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    body = JOB | {"model": "echo/flaky", "max_attempts": 1}
    failed = (await api.post("/v1/jobs", json=body, headers={"prefer": "wait=20"})).json()
    assert failed["status"] == "failed"
    again = await api.post(f"/v1/jobs/{failed['id']}/retry")
    assert (again.status_code, again.json()["id"]) == (202, failed["id"])
    job = (await api.get(f"/v1/jobs/{failed['id']}", params={"wait": "20"})).json()
    # It had used up its one attempt: the budget is a fresh one.
    assert (job["status"], job["attempts_used"]) == ("failed", 1)
    assert [(attempt["run"], attempt["attempt"]) for attempt in job["attempts"]] == [(1, 1), (2, 1)]


async def test_a_job_that_has_not_failed_is_not_retried(api: httpx2.AsyncClient) -> None:
    url = (await api.post("/v1/jobs", json=JOB)).headers["location"]
    answer = await api.post(f"{url}/retry")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


async def test_a_deleted_job_is_gone(api: httpx2.AsyncClient) -> None:
    url = (await api.post("/v1/jobs", json=JOB)).headers["location"]
    assert (await api.delete(url)).status_code == 204
    for answer in (await api.get(url), await api.delete(url), await api.post(f"{url}/cancel")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "gone")
    assert (await api.get("/v1/jobs")).json()["data"] == []


async def test_a_running_job_can_be_deleted(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    url = (await api.post("/v1/jobs", json=JOB | {"model": "echo/timeout"})).headers["location"]
    while (await api.get(url)).json()["status"] == "queued":
        pass
    assert (await api.delete(url)).status_code == 204
    assert (await api.get(url)).status_code == 410
