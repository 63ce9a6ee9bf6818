"""Signatures that the receivers' library, which is not ours, verifies."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from core.access.webhook_secrets import new_secret
from core.webhooks.egress.signing import sign

BODY = b'{"type":"job.succeeded","data":{"text":"gr\xc3\xbc\xc3\x9fe \xf0\x9f\x98\x80"}}'


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def test_a_receiver_verifies_what_was_signed() -> None:
    secret = new_secret()

    assert Webhook(secret).verify(BODY, sign(secret, "evt_1", now(), BODY)) == json.loads(BODY)


@given(secret=st.binary(min_size=24, max_size=64), body=st.text(max_size=100), identifier=st.uuids())
def test_both_sides_sign_alike(secret: bytes, body: str, identifier: object) -> None:
    text = "whsec_" + base64.b64encode(secret).decode()
    at = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

    headers = sign(text, f"evt_{identifier}", int(at.timestamp()), body.encode())

    assert headers["webhook-signature"] == Webhook(text).sign(f"evt_{identifier}", at, body)


def test_the_headers_are_the_documented_three() -> None:
    headers = sign(new_secret(), "evt_1", 1772600767, BODY)

    assert set(headers) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("evt_1", "1772600767")
    assert headers["webhook-signature"].startswith("v1,")


def test_each_part_is_signed() -> None:
    secret, at = new_secret(), now()
    headers = sign(secret, "evt_1", at, BODY)
    forged = [
        (BODY + b" ", headers),
        (BODY, headers | {"webhook-id": "evt_2"}),
        (BODY, headers | {"webhook-timestamp": str(at + 1)}),
        (BODY, headers | {"webhook-signature": sign(new_secret(), "evt_1", at, BODY)["webhook-signature"]}),
    ]

    for body, changed in forged:
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, changed)


def test_an_old_attempt_can_not_be_replayed() -> None:
    secret, old = new_secret(), int((datetime.now(UTC) - timedelta(minutes=10)).timestamp())

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, sign(secret, "evt_1", old, BODY))
