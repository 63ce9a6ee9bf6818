"""Prefixed ids that sort by time: `job_019ab…` names the UUIDv7 that the database stores.

The prefix says what an id names. A UUIDv7 begins with its time, so new rows are appended to the end of every index.
"""

from datetime import datetime
from typing import Final, NewType
from uuid import UUID

from uuid_utils.compat import uuid7

TenantId = NewType("TenantId", UUID)
JobId = NewType("JobId", UUID)
KeyId = NewType("KeyId", UUID)
EndpointId = NewType("EndpointId", UUID)
EventId = NewType("EventId", UUID)
DeliveryId = NewType("DeliveryId", UUID)
RecoveryId = NewType("RecoveryId", UUID)
LeaseToken = NewType("LeaseToken", UUID)

JOB: Final = "job"
TENANT: Final = "ten"
KEY: Final = "key"
ENDPOINT: Final = "we"
EVENT: Final = "evt"
DELIVERY: Final = "dlv"
RECOVERY: Final = "rcv"
REQUEST: Final = "req"

_HEX_DIGITS: Final = 32
_RANDOM_BITS: Final = 80


class InvalidId(ValueError):
    """The text is not an id of the expected kind."""


def new_uuid() -> UUID:
    """Returns a new UUIDv7 (RFC 9562): milliseconds since 1970, then random bits."""
    return uuid7()


def uuid_at(moment: datetime, *, before: float = 0.0) -> UUID:
    """Returns the smallest UUIDv7 of the time `before` seconds ahead of `moment`: a bound for ids by time."""
    milliseconds = max(0, int((moment.timestamp() - before) * 1000))
    return UUID(int=milliseconds << _RANDOM_BITS)


def show(prefix: str, value: UUID) -> str:
    """Returns the public form of an id: `job_` and the 32 hexadecimal digits of the UUID."""
    return f"{prefix}_{value.hex}"


def parse(prefix: str, text: str) -> UUID:
    """Returns the UUID in `text`.

    Raises InvalidId when the prefix differs or the rest is not 32 lower-case hexadecimal digits.
    """
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != _HEX_DIGITS or digits.strip("0123456789abcdef"):
        raise InvalidId(f"not a {prefix}_ id")
    return UUID(hex=digits)


def new_job_id() -> JobId:
    return JobId(new_uuid())


def show_job(job_id: JobId) -> str:
    return show(JOB, job_id)


def parse_job(text: str) -> JobId:
    """Raises InvalidId."""
    return JobId(parse(JOB, text))
