"""What the tests of webhooks do again and again: register a receiver, run a job, wait for deliveries."""

from typing import Any

import httpx2

from tests.support.receiver import Receiver
from tests.support.waiting import eventually

EVERY = ["job.succeeded", "job.failed", "job.cancelled", "job.expired"]


async def register(api: httpx2.AsyncClient, receiver: Receiver, **fields: Any) -> dict[str, Any]:
    """Registers the receiver and hands it its secret."""
    body = {"name": "mine", "url": receiver.url, "event_types": EVERY} | fields
    answer = await api.post("/v1/webhook_endpoints", json=body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    receiver.secret = made["signing_secret"]
    return made


async def run_job(api: httpx2.AsyncClient, **fields: object) -> dict[str, Any]:
    body = {"model": "echo/echo", "input": "hi"} | fields
    answer = await api.post("/v1/jobs", json=body, headers={"prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def deliveries_in(api: httpx2.AsyncClient, endpoint: dict[str, Any], state: str, count: int) -> list[Any]:
    async def look() -> list[Any] | None:
        path = f"/v1/webhook_endpoints/{endpoint['id']}/deliveries"
        page = (await api.get(path, params={"status": state, "limit": 100})).json()
        return page["data"] if len(page["data"]) == count else None

    return await eventually(look, what=f"{count} deliveries are {state}")


async def detail(api: httpx2.AsyncClient, delivery_id: str) -> dict[str, Any]:
    answer = await api.get(f"/v1/webhook_deliveries/{delivery_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
