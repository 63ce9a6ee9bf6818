"""The demo's receiver believes a webhook only by its signature."""

import asyncio
import json

import aiohttp
import pytest

from core.access.webhook_secrets import new_secret
from core.domain.clock import SystemClock
from core.webhooks.egress.signing import sign
from local.demo.receiver import Received, run_receiver

BODY = json.dumps({"type": "job.succeeded", "data": {"job_id": "job_1"}}).encode()


async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as response:
        return response.status


def signed(secret: str, body: bytes = BODY, *, age: int = 0) -> dict[str, str]:
    return sign(secret, "evt_1", int(SystemClock().now().timestamp()) - age, body)


async def test_a_good_signature_is_taken_and_wakes_who_waits() -> None:
    secret = new_secret()
    async with run_receiver(secret) as receiver, asyncio.timeout(10):
        waiting = asyncio.create_task(receiver.wait_for("job_1"))
        assert await post(receiver.url, BODY, signed(secret)) == 204
        assert await waiting == receiver.of("job_1") == Received("job.succeeded", "job_1")
        assert receiver.refused == 0


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY, {}),
        (BODY, signed(new_secret())),
        (BODY.replace(b"succeeded", b"failed"), None),
        (BODY, "old"),
        (b"\xff", None),
        (b"[]", "fitting"),
    ],
)
async def test_any_other_is_refused(body: bytes, headers: dict[str, str] | str | None) -> None:
    secret = new_secret()
    match headers:
        case None:
            sent = signed(secret)
        case "old":
            sent = signed(secret, age=3600)
        case "fitting":
            sent = signed(secret, body)
        case _:
            assert isinstance(headers, dict)
            sent = headers
    async with run_receiver(secret) as receiver:
        assert await post(receiver.url, body, sent) == 400
        assert (receiver.refused, receiver.of("job_1")) == (1, None)
