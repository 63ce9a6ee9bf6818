"""Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature` over the exact bytes sent.

A secret's prefix says how it signs: `whsec_` by HMAC-SHA256 (`v1`), `whsk_` by ed25519 (`v1a`). During a rotation the
older secrets sign too, so that a receiver with either verifies. The id is the event's and stays over all attempts; the
timestamp is each attempt's, so each attempt is signed anew.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.access.webhook_secrets import PREFIX, new_secret

Signature = Literal["v1", "v1a"]
HEADERS: Final = {
    "webhook-id": "The event's id, the same for all attempts: ignore an id that you have seen.",
    "webhook-timestamp": "When this attempt was sent, in Unix seconds: refuse what is older than five minutes.",
    "webhook-signature": "`v1,…` or `v1a,…`: the signature of `id.timestamp.body`; during a rotation several of them, "
    "separated by spaces.",
}
PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"
_SEED_BYTES: Final = 32
_SHOWN_AT_THE_END: Final = 4


def new_signing_secret(signature: Signature) -> str:
    """A new secret to sign with: `whsec_…`, or for v1a `whsk_…` (the private key, then the public one)."""
    if signature == "v1":
        return new_secret()
    key = Ed25519PrivateKey.generate()
    pair = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return PRIVATE_PREFIX + base64.b64encode(pair).decode()


def verifying_secret(secret: str) -> str:
    """The secret that a receiver verifies with: the same `whsec_…`, or the public key `whpk_…` of a `whsk_…`."""
    if not secret.startswith(PRIVATE_PREFIX):
        return secret
    return PUBLIC_PREFIX + base64.b64encode(_private_key(secret).public_key().public_bytes_raw()).decode()


def hint_of(secret: str) -> str:
    """The part that may be shown again: a public key, or the end of a secret."""
    shown = verifying_secret(secret)
    return shown if shown.startswith(PUBLIC_PREFIX) else f"{PREFIX}…{shown[-_SHOWN_AT_THE_END:]}"


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes, *older: str) -> dict[str, str]:
    """The three headers of one attempt; `timestamp` is in Unix seconds, `older` are secrets that still sign."""
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(each, content) for each in (secret, *older)),
    }


def _signature(secret: str, content: bytes) -> str:
    if secret.startswith(PRIVATE_PREFIX):
        return "v1a," + base64.b64encode(_private_key(secret).sign(content)).decode()
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def _private_key(secret: str) -> Ed25519PrivateKey:
    pair = base64.b64decode(secret.removeprefix(PRIVATE_PREFIX))
    return Ed25519PrivateKey.from_private_bytes(pair[:_SEED_BYTES])
