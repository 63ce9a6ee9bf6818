"""`/v1/jobs/{id}/events`: a job's changes as server-sent events, from where the listener left off to the job's end.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from typing import Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.http.admission import Call, admit
from api.http.operations import REF, Endpoint, Returns, operation
from api.jobs.schemas.job import summary_view
from core.db.faults import is_store_fault
from core.db.session import reading
from core.domain.job_state import TERMINAL
from core.jobs.queries import why_missing
from core.jobs.records import JobRecord

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Endpoint)

# A comment keeps proxies from closing a connection on which nothing happens.
_KEEP_ALIVE: Final = b": keep-alive\n\n"
_KEEP_ALIVE_SECONDS: Final = 15.0
_REVOKED: Final = b": the API key was revoked or has expired\n\n"
_AWAY: Final = b": the database can't be reached, connect again\n\n"
_LAST_EVENT_ID: Final = (
    "Last-Event-ID",
    "The id of the last event that was received; the stream continues after it.",
    "3",
)
_EVENT: Final = {
    "type": "object",
    "description": "One event.",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "description": "`job.` and the job's state.", "example": "job.succeeded"},
        "id": {
            "type": "string",
            "description": "The job's version; of two events the larger one is the later.",
            "example": "4",
        },
        "data": {
            "type": "string",
            "description": "The job, as in a list.",
            "contentMediaType": "application/json",
            "example": '{"id": "job_019ab3c4d5e67f8090a1b2c3d4e5f607", …}',
            "contentSchema": {"$ref": REF.format(model="JobSummaryView")},
        },
    },
}
_EXAMPLE: Final = 'event: job.succeeded\nid: 4\ndata: {"id": "job_019ab3c4d5e67f8090a1b2c3d4e5f607", …}\n\n'
# Versions are small; whatever else comes is no event that was ever sent.
_VERSION: Final = re.compile(r"\d{1,10}", re.ASCII)


@router.get(
    "/{job_id}/events",
    **operation(
        "jobs_events",
        "Follow a job's events",
        headers=[_LAST_EVENT_ID],
        returns={200: Returns(None, "The events.", media_type="text/event-stream", schema=_EVENT, example=_EXAMPLE)},
        errors=[404, 410, 500],
    ),
)
async def events(request: Request) -> Response:
    """Server-sent events: the job's state now and each later one, until it is final.

    `event` is `job.` and the state, `id` the job's version, `data` the job as in a list.
    """
    call = await admit(request)
    job_id = call.job_id
    job = await call.runtime.watch.until_ended(job_id, call.tenant_id, 0.0)
    if job is None:
        async with reading(call.runtime.database, call.tenant_id) as session:
            raise await why_missing(session, call.tenant_id, job_id)
    last = call.header("last-event-id")
    seen = int(last) if last is not None and _VERSION.fullmatch(last) else 0
    headers = {"x-accel-buffering": "no"}
    return _EventStream(_stream(call, job, seen), call.waiting(), "text/event-stream", headers)


class _EventStream(StreamingResponse):
    """Counts as a wait from its first byte to its end, however it ends."""

    def __init__(
        self,
        content: AsyncIterator[bytes],
        waiting: AbstractContextManager[None],
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._waiting = waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._waiting:
            await super().__call__(scope, receive, send)


async def _stream(call: Call, job: JobRecord, seen: int) -> AsyncIterator[bytes]:
    watch = call.runtime.watch
    current: JobRecord | None = job
    try:
        while current is not None:
            if current.version != seen:
                seen = current.version
                data = orjson.dumps(summary_view(current, call.base_url), option=orjson.OPT_UTC_Z)
                yield b"event: job.%b\nid: %d\ndata: %b\n\n" % (current.state.value.encode(), seen, data)
            else:
                yield _KEEP_ALIVE
            if current.state in TERMINAL or watch.closed:
                return
            current = await watch.until_changed(job.id, call.tenant_id, seen, _KEEP_ALIVE_SECONDS)
            if not await call.runtime.authenticator.still_good(call.caller):
                yield _REVOKED
                return
    except Exception as error:
        if not is_store_fault(error):
            raise
        # Half a response is out: the client reconnects, and goes on from the last event that it saw.
        yield _AWAY
