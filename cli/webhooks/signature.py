"""Checks a webhook's signature and explains why it is not good. Used by `inferd webhooks verify` and `listen`.

The library `standardwebhooks` gives no reasons and knows no v1a; the receiver of `inferd demo` verifies with it, so
that our signatures are checked by somebody else's code too.
"""

import base64
import binascii
import hashlib
import hmac
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cli.exit_codes import CommandFailed, ExitCode
from cli.terminal import results

_TOLERANCE_SECONDS: Final = 300
_NAMES: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_SCHEMES: Final = {"whsec": "v1", "whpk": "v1a"}


def check(body: Path, secret: str, headers: Sequence[str], *, at_any_time: bool) -> ExitCode:
    """Reads the file and prints the verdict."""
    content = sys.stdin.buffer.read() if str(body) == "-" else body.read_bytes()
    given = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in headers)}
    problem = problem_with(secret, given, content, now=None if at_any_time else time_now())
    results().print("The signature is good." if problem is None else f"The signature is not good: {problem}")
    return ExitCode.OK if problem is None else ExitCode.FAILED


def time_now() -> int:
    return int(time.time_ns() // 1_000_000_000)


def problem_with(secret: str, headers: Mapping[str, str], body: bytes, *, now: int | None) -> str | None:
    """None for a good signature. Without `now` its age does not matter. Raises CommandFailed for a malformed secret."""
    scheme, key = _key(secret)
    missing = [name for name in _NAMES if not headers.get(name)]
    if missing:
        return f"the header {missing[0]} is missing."
    webhook_id, timestamp, signatures = (headers[name] for name in _NAMES)
    if not (timestamp.isascii() and timestamp.isdigit()):
        return f"webhook-timestamp is not a number of seconds: {timestamp[:40]!r}."
    age = 0 if now is None else now - int(timestamp)
    if abs(age) > _TOLERANCE_SECONDS:
        return f"it was signed {abs(age)} s {'ago' if age > 0 else 'ahead of now'}; at most 5 minutes are allowed."
    offered = [each.partition(",")[2] for each in signatures.split() if each.partition(",")[0] == scheme]
    if not offered:
        return f"it has no {scheme} signature, which is what this secret verifies."
    content = f"{webhook_id}.{timestamp}.".encode() + body
    if any(_is_good(scheme, key, content, each) for each in offered):
        return None
    return "the id, the time, the body or the secret differs from what was signed. The body must be the exact bytes."


def _key(secret: str) -> tuple[str, bytes]:
    prefix, _, encoded = secret.partition("_")
    try:
        scheme, key = _SCHEMES[prefix], base64.b64decode(encoded, validate=True)
    except (KeyError, binascii.Error):
        scheme, key = "", b""
    if not key:
        raise CommandFailed("A secret is whsec_… or whpk_… and base64.", ExitCode.USAGE)
    return scheme, key


def _is_good(scheme: str, key: bytes, content: bytes, signature: str) -> bool:
    try:
        given = base64.b64decode(signature, validate=True)
        if scheme == "v1":
            return hmac.compare_digest(hmac.new(key, content, hashlib.sha256).digest(), given)
        Ed25519PublicKey.from_public_bytes(key).verify(given, content)
    except (binascii.Error, InvalidSignature, ValueError):
        return False
    return True
