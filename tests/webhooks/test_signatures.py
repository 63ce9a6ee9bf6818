"""Signatures against vectors that are not ours, both schemes, and during a rotation."""

import base64
from datetime import UTC, datetime
from typing import Any, cast

import httpx2
import openai
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from core.webhooks.egress.signing import PUBLIC_PREFIX, hint_of, new_signing_secret, sign, verifying_secret
from tests.support.processes import RunningWorker
from tests.support.receiver import Received
from tests.support.waiting import eventually
from tests.webhooks.raw_receiver import answering, receive_raw
from tests.webhooks.steps import EVERY, run_job

# Of the specification's symmetric example, and of the reference implementation's test of ed25519.
ID, TIMESTAMP, PAYLOAD = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SYMMETRIC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SYMMETRIC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
ED25519_SIGNATURE = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="


@pytest.mark.parametrize(("secret", "signature"), [(SYMMETRIC, SYMMETRIC_SIGNATURE), (PRIVATE, ED25519_SIGNATURE)])
def test_the_published_vectors(secret: str, signature: str) -> None:
    assert sign(secret, ID, TIMESTAMP, PAYLOAD)["webhook-signature"] == signature


def test_the_public_key_is_the_published_one() -> None:
    assert verifying_secret(PRIVATE) == PUBLIC == hint_of(PRIVATE)
    assert verifying_secret(SYMMETRIC) == SYMMETRIC
    assert hint_of(SYMMETRIC) == "whsec_…LaSw"


def test_both_schemes_stand_side_by_side_during_a_rotation() -> None:
    headers = sign(PRIVATE, ID, TIMESTAMP, PAYLOAD, SYMMETRIC)
    assert headers["webhook-signature"].split() == [ED25519_SIGNATURE, SYMMETRIC_SIGNATURE]


def verify_v1a(public: str, received: Received) -> None:
    """As a receiver of v1a would. Raises InvalidSignature."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix(PUBLIC_PREFIX)))
    headers = received.headers
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + received.body
    signatures = [each.partition(",")[2] for each in headers["webhook-signature"].split() if each[:4] == "v1a,"]
    for signature in signatures:
        try:
            key.verify(base64.b64decode(signature), content)
        except InvalidSignature:
            continue
        return
    raise InvalidSignature


def test_a_new_key_pair_belongs_together() -> None:
    secret = new_signing_secret("v1a")
    now = int(datetime.now(UTC).timestamp())
    received = Received("evt_1", {}, sign(secret, "evt_1", now, PAYLOAD), PAYLOAD)
    verify_v1a(verifying_secret(secret), received)
    with pytest.raises(InvalidSignature):
        verify_v1a(PUBLIC, received)


async def test_an_endpoint_of_v1a_is_verified_by_its_public_key(api: httpx2.AsyncClient, worker: RunningWorker) -> None:
    async with receive_raw(answering("204 No Content")) as receiver:
        made = await api.post(
            "/v1/webhook_endpoints",
            json={"name": "n", "url": receiver.url(), "event_types": EVERY, "signature": "v1a"},
        )
        endpoint: dict[str, Any] = made.json()
        assert endpoint["signing_secret"] == endpoint["public_key"] == endpoint["signing_secret_hint"]
        assert endpoint["public_key"].startswith("whpk_")
        read = (await api.get(f"/v1/webhook_endpoints/{endpoint['id']}")).json()
        assert (read["signature"], read["public_key"]) == ("v1a", endpoint["public_key"])
        await run_job(api)
        first = await eventually(lambda: _received(receiver.exchanges[0].request) if receiver.exchanges else None)
        verify_v1a(endpoint["public_key"], first)

        # To another key, and then to a shared secret; for a day, the older ones go on.
        path = f"/v1/webhook_endpoints/{endpoint['id']}/rotate_secret"
        keep = {"keep_old_secret_active_for_24_hours": True}
        second_key = (await api.post(path, json=keep)).json()["signing_secret"]
        third = (await api.post(path, json=keep | {"signature": "v1"})).json()
        assert (third["signature"], third["public_key"]) == ("v1", None)
        await run_job(api)
        rotated = await eventually(
            lambda: _received(receiver.exchanges[1].request) if len(receiver.exchanges) > 1 else None
        )
    for public in (endpoint["public_key"], second_key):
        verify_v1a(public, rotated)
    Webhook(third["signing_secret"]).verify(rotated.body, rotated.headers)
    # The openai SDK reads v1 and passes over v1a.
    sdk = openai.OpenAI(api_key="none")
    sdk.webhooks.verify_signature(rotated.body, rotated.headers, secret=third["signing_secret"])
    event = cast(Any, sdk.webhooks.unwrap(rotated.body, rotated.headers, secret=third["signing_secret"]))
    assert event.type == "job.succeeded"
    sdk.close()


def _received(request: bytes) -> Received:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.decode().partition(": ") for line in head.split(b"\r\n")[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    return Received(headers["webhook-id"], {}, headers, body)
