"""API keys: `inf_live_<id>_<secret><check>`. Pure.

The id is public (logs and lists show it). The secret has 256 bits. The check is a CRC-32, so that a malformed key is
refused without a look-up and secret scanners have no false positives. Only the SHA-256 of the whole key is stored: a
random secret needs no slow hash.
"""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 16
_SECRET_LENGTH: Final = 43
_CHECK_LENGTH: Final = 6
_SHAPE: Final = re.compile(rf"inf_live_([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH + _CHECK_LENGTH}}})")


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A well-formed key of a request, not yet looked up."""

    public_id: str
    secret_hash: bytes


def new_key() -> tuple[str, PresentedKey]:
    """Returns a new key: the text to show once, and what to store."""
    public_id = _random(_ID_LENGTH)
    head = f"inf_live_{public_id}_{_random(_SECRET_LENGTH)}"
    text = head + _check(head)
    return text, PresentedKey(public_id, _hash(text))


def parse_key(text: str) -> PresentedKey | None:
    """Returns the key in `text`, or None when it is malformed."""
    match = _SHAPE.fullmatch(text)
    if match is None or _check(text[:-_CHECK_LENGTH]) != text[-_CHECK_LENGTH:]:
        return None
    return PresentedKey(match[1], _hash(text))


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _check(head: str) -> str:
    number, digits = zlib.crc32(head.encode()), ""
    for _ in range(_CHECK_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
