"""One good request, and one for each way of not being it."""

from collections.abc import Callable
from datetime import UTC, datetime

from core.webhooks.egress.signing import new_signing_secret, sign

BODY = b'{"id":"evt_1","type":"webhook.ping","data":{"id":"we_1"}}'
Request = tuple[dict[str, str], bytes]


def good(secret: str, *older: str) -> Request:
    return {"content-type": "application/json", **sign(secret, "evt_1", _now(), BODY, *older)}, BODY


def _now(offset: int = 0) -> int:
    return int(datetime.now(UTC).timestamp()) + offset


def _with(**headers: str) -> Callable[[str], Request]:
    changes = {f"webhook-{name}": value for name, value in headers.items()}
    return lambda secret: (good(secret)[0] | changes, BODY)


def _signed(offset: int) -> Callable[[str], Request]:
    return lambda secret: (sign(secret, "evt_1", _now(offset), BODY), BODY)


FORGERIES: dict[str, Callable[[str], Request]] = {
    "another body": lambda secret: (good(secret)[0], BODY + b" "),
    "no body": lambda secret: (good(secret)[0], b""),
    "another secret": lambda _: good(new_signing_secret("v1")),
    "another id": _with(id="evt_2"),
    # Not a second later: the signed one is made when it is asked for, this one when the module is loaded.
    "another time": _with(timestamp=str(_now(100))),
    "an old time": _signed(-400),
    "a time to come": _signed(400),
    "no time": _with(timestamp="soon"),
    "a signature that is none": _with(signature="v1,AAAA"),
    # These three make the Python library raise something else than its own error.
    "a signature without a comma": _with(signature="v1"),
    "a signature with two commas": _with(signature="v1,a,b"),
    "no signature": _with(signature=""),
    "no header at all": lambda _: ({}, BODY),
    "only a v1a signature": lambda _: (sign(new_signing_secret("v1a"), "evt_1", _now(), BODY), BODY),
}
