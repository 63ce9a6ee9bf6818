"""The header Idempotency-Key: how it is read, and what stands for a request. Used by the operations that create."""

import hashlib
import re
from typing import Final, TypeVar

import orjson
from pydantic import JsonValue

from api.http.admission import Call
from core.db.idempotency import Created, IdempotencyKey
from core.domain.errors import InvalidRequest

T = TypeVar("T")

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_HOUR: Final = 3600.0


def check_key(key: str | None) -> str | None:
    """The key as it came. Raises InvalidRequest for one that can't be kept."""
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key: must be 1 to 255 ASCII characters from ! to ~, without spaces.", param="Idempotency-Key"
        )
    return key


def fingerprint(body: JsonValue) -> bytes:
    """The same for bodies that say the same, in whatever order of fields."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


def idempotency_key(call: Call, what: str, body: JsonValue) -> IdempotencyKey | None:
    """The key of a request that creates `what`; one key never stands for two kinds of things."""
    key = check_key(call.header("idempotency-key"))
    if key is None:
        return None
    seconds = call.runtime.settings.job.idempotency_hours * _HOUR
    return IdempotencyKey(key, fingerprint([what, body]), seconds)


def replayed(created: Created[T]) -> dict[str, str]:
    """The header of a response to a request that created nothing."""
    return {"idempotency-replayed": "true"} if created.replayed else {}
