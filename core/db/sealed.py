"""Bytes at rest: AES-256-GCM when a master key is set, plain otherwise, and always marked which.

A record is one byte of version, then the bytes (0), or a 12-byte nonce and the ciphertext (1). The additional data
names tenant, place and row, so a ciphertext that is moved to another row does not open. Rows written before a master
key was set stay readable after it.
"""

import base64
import secrets
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

_PLAIN: Final = b"\x00"
_AES_GCM: Final = b"\x01"
_NONCE_BYTES: Final = 12


class SealBroken(Exception):
    """The bytes were sealed with another key, for another row, or changed since."""


class WrongKey(SealBroken):
    """Sealed, and this process has no key or another one, or is of an older release: others may open it.

    A record that was changed since, or moved to another row, looks the same.
    """


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals and opens. Without a cipher it only marks."""

    _cipher: AESGCM | None

    @property
    def has_key(self) -> bool:
        return self._cipher is not None

    def seal(self, plaintext: bytes, tenant_id: UUID, place: str, row: UUID) -> bytes:
        """`place` is table and column, e.g. `jobs.request`."""
        if self._cipher is None:
            return _PLAIN + plaintext
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _AES_GCM + nonce + self._cipher.encrypt(nonce, plaintext, _additional(tenant_id, place, row))

    def open(self, sealed: bytes, tenant_id: UUID, place: str, row: UUID) -> bytes:
        """Raises SealBroken, or WrongKey where another process may open it."""
        version, rest = sealed[:1], sealed[1:]
        if version == _PLAIN:
            return rest
        if not version:
            raise SealBroken(f"{place}: an empty record")
        if version != _AES_GCM:
            raise WrongKey(f"{place}: not a record of this version of inferd")
        if self._cipher is None:
            raise WrongKey(f"{place}: sealed, and INFERD_MASTER_KEY is not set")
        try:
            return self._cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _additional(tenant_id, place, row))
        except (InvalidTag, ValueError) as error:  # the latter for a record that was cut within its nonce
            raise WrongKey(f"{place}: sealed with another key or for another row") from error


def make_sealer(master_key: SecretStr | None) -> Sealer:
    """`master_key` is 32 bytes in base64, as core/settings.py has checked."""
    if master_key is None:
        return Sealer(None)
    return Sealer(AESGCM(base64.b64decode(master_key.get_secret_value())))


def _additional(tenant_id: UUID, place: str, row: UUID) -> bytes:
    return tenant_id.bytes + row.bytes + place.encode()
