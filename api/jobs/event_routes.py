"""`/v1/jobs/{id}/events`: a job's changes as server-sent events, from where the listener left off to the job's end.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.http.deps import AdmissionDep, CallerDep, JobIdDep, RuntimeDep
from api.http.openapi import answers
from api.jobs.schemas.job import summary_view
from core.access.authenticate import Caller
from core.db.faults import is_store_fault
from core.db.session import reading
from core.domain.job_state import TERMINAL
from core.jobs.queries import why_missing
from core.jobs.records import JobRecord
from core.runtime import ApiRuntime

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

# A comment keeps proxies from closing a connection on which nothing happens.
_KEEP_ALIVE: Final = b": keep-alive\n\n"
_KEEP_ALIVE_SECONDS: Final = 15.0
_REVOKED: Final = b": the API key was revoked or has expired\n\n"
_AWAY: Final = b": the database is out of reach, connect again\n\n"
# Versions are small; whatever else comes is no event that was ever sent.
_VERSION: Final = re.compile(r"\d{1,10}", re.ASCII)


@router.get("/{job_id}/events", response_class=StreamingResponse, responses=answers(str, 200))
async def events(
    runtime: RuntimeDep,
    admission: AdmissionDep,
    caller: CallerDep,
    job_id: JobIdDep,
    last_event_id: Annotated[str | None, Header(description="The id of the last event that was seen.")] = None,
) -> Response:
    """The job's state now and each later one, until it has ended: `event: job.running`, `id: <version>`, a summary."""
    job = await runtime.watch.until_ended(job_id, caller.tenant_id, 0.0)
    if job is None:
        async with reading(runtime.database, caller.tenant_id) as session:
            raise await why_missing(session, caller.tenant_id, job_id)
    seen = int(last_event_id) if last_event_id is not None and _VERSION.fullmatch(last_event_id) else 0
    headers = {"x-accel-buffering": "no"}
    return _EventStream(
        _stream(runtime, caller, job, seen), admission.waiting(caller.tenant_id), "text/event-stream", headers
    )


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


async def _stream(runtime: ApiRuntime, caller: Caller, job: JobRecord, seen: int) -> AsyncIterator[bytes]:
    base_url = (runtime.settings.api.public_url or "").rstrip("/")
    current: JobRecord | None = job
    try:
        while current is not None:
            if current.version != seen:
                seen = current.version
                data = orjson.dumps(summary_view(current, base_url), option=orjson.OPT_UTC_Z)
                yield b"event: job.%b\nid: %d\ndata: %b\n\n" % (current.state.value.encode(), seen, data)
            else:
                yield _KEEP_ALIVE
            if current.state in TERMINAL or runtime.watch.closed:
                return
            current = await runtime.watch.until_changed(job.id, caller.tenant_id, seen, _KEEP_ALIVE_SECONDS)
            if not await runtime.authenticator.still_good(caller):
                yield _REVOKED
                return
    except Exception as error:
        if not is_store_fault(error):
            raise
        # Half an answer is out: the client reconnects, and goes on from the last event that it saw.
        yield _AWAY
