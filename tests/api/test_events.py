"""A job's changes as server-sent events."""

import asyncio
import json

import httpx2

from tests.support.processes import RunningWorker
from tests.support.tenants import Tenant

JOB = {"model": "echo/echo", "input": "hi"}


def _events(text: str) -> list[tuple[str, int, dict[str, object]]]:
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], int(fields["id"]), json.loads(fields["data"])))
    return found


async def test_the_stream_ends_with_the_job(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    job = (await api.post("/v1/jobs", json=JOB | {"model": "echo/flaky"})).json()
    answer = await api.get(f"/v1/jobs/{job['id']}/events")
    events = _events(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events[-1][0] == "job.succeeded"
    versions = [version for _, version, _ in events]
    assert versions == sorted(set(versions))
    assert all(data["id"] == job["id"] and name == f"job.{data['status']}" for name, _, data in events)


async def test_a_listener_goes_on_where_it_left_off(api: httpx2.AsyncClient) -> None:
    job = (await api.post("/v1/jobs", json=JOB)).json()
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    url = f"/v1/jobs/{job['id']}/events"
    all_of_it = _events((await api.get(url)).text)
    assert [name for name, _, _ in all_of_it] == ["job.cancelled"]
    again = await api.get(url, headers={"last-event-id": str(all_of_it[-1][1])})
    assert _events(again.text) == []
    confused = await api.get(url, headers={"last-event-id": "x"})
    assert _events(confused.text) == all_of_it


async def test_a_change_is_told_while_it_is_listened_to(api: httpx2.AsyncClient) -> None:
    job = (await api.post("/v1/jobs", json=JOB)).json()
    first_seen = asyncio.Event()

    async def listen() -> str:
        text = ""
        async with api.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
            async for piece in answer.aiter_text():
                text += piece
                first_seen.set()
        return text

    listening = asyncio.create_task(listen())
    await first_seen.wait()
    await api.post(f"/v1/jobs/{job['id']}/cancel")
    assert [name for name, _, _ in _events(await listening)] == ["job.queued", "job.cancelled"]


async def test_somebody_elses_job_is_not_found(api: httpx2.AsyncClient, other_tenant: Tenant) -> None:
    job = (await api.post("/v1/jobs", json=JOB)).json()
    answer = await api.get(f"/v1/jobs/{job['id']}/events", headers=other_tenant.authorization)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
