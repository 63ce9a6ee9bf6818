"""What arq's payload key holds: a function's name, an id and its tenant's, as JSON. No prompt, no result, no pickle."""

from typing import Final

import orjson
from pydantic import JsonValue

RUN_JOB: Final = "run_job"
DELIVER_WEBHOOK: Final = "deliver_webhook"
# The tenant; arq ignores a field that it does not know.
FLOW: Final = "flow"

# Stock arq gives a payload a day; a job may be deferred for longer, and the sweep writes the payload again anyway.
PAYLOAD_LIFE_MS: Final = 86_400_000


def dumps(data: dict[str, JsonValue]) -> bytes:
    """Arq's job_serializer, for who enqueues and for workers."""
    return orjson.dumps(data)


def loads(data: bytes) -> dict[str, JsonValue]:
    """Arq's job_deserializer. Raises ValueError for what is not a JSON object."""
    loaded: JsonValue = orjson.loads(data)
    if not isinstance(loaded, dict):
        raise ValueError("not an object")  # noqa: TRY004 - arq expects a decoding error
    return loaded


def payload(function: str, member: str, flow: str = "") -> bytes:
    """The payload of one task, in arq's own layout (t: try, f: function, a: args, k: kwargs, et: enqueue time).

    `flow` names whose turn the task takes: a tenant.
    """
    return dumps({"t": None, "f": function, "a": [member], "k": {}, "et": 0, FLOW: flow})


def read(data: bytes) -> tuple[str | None, str]:
    """The function and the flow that a payload names; None and "" where it names none."""
    try:
        body = loads(data)
    except ValueError:
        return None, ""
    name, flow = body.get("f"), body.get(FLOW)
    return name if isinstance(name, str) else None, flow if isinstance(flow, str) else ""
