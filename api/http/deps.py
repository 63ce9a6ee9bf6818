"""What a route's signature is built from: the runtime, the caller, the body, the request's id.

Every dependency is `async`: FastAPI runs the others in a thread, which costs more than they do.
"""

from typing import Annotated, cast

from fastapi import Depends, Header, Request
from pydantic import JsonValue

from api.http.admission import Admission
from api.http.strict_json import MOST_VALUES, parse_lines, parse_object, read_body
from core.access.authenticate import Caller
from core.domain.errors import NotFound
from core.domain.ids import InvalidId, JobId, parse_job
from core.runtime import ApiRuntime


async def _runtime(request: Request) -> ApiRuntime:
    return cast(ApiRuntime, request.state.runtime)


RuntimeDep = Annotated[ApiRuntime, Depends(_runtime)]


async def _admission(request: Request) -> Admission:
    return cast(Admission, request.state.admission)


AdmissionDep = Annotated[Admission, Depends(_admission)]


async def _caller(
    request: Request,
    runtime: RuntimeDep,
    admission: AdmissionDep,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Caller:
    caller = await runtime.authenticator.authenticate(authorization)
    admission.admit(request.scope["state"], caller)
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]


async def _body(request: Request, runtime: RuntimeDep, _caller: CallerDep) -> dict[str, JsonValue]:
    # After the caller is known: nobody else's body is read.
    return parse_object(await read_body(request, runtime.settings.api.max_body_bytes))


BodyDep = Annotated[dict[str, JsonValue], Depends(_body)]


async def _bulk_body(request: Request, runtime: RuntimeDep, _caller: CallerDep) -> dict[str, JsonValue]:
    body = await read_body(request, runtime.settings.api.max_bulk_bytes)
    return await parse_lines(body, "jobs", most_values=MOST_VALUES * 10, most_per_line=MOST_VALUES)


BulkBodyDep = Annotated[dict[str, JsonValue], Depends(_bulk_body)]


async def _request_id(request: Request) -> str:
    return cast(str, request.state.request_id)


RequestIdDep = Annotated[str, Depends(_request_id)]


def job_id_of(text: str) -> JobId:
    """The id in a path. Raises NotFound for what can't be one."""
    try:
        return parse_job(text)
    except InvalidId:
        raise NotFound(f"There is no job {text[:64]!r}; a job's id is job_ and 32 hexadecimal digits.") from None


async def _job_id(job_id: str) -> JobId:
    return job_id_of(job_id)


JobIdDep = Annotated[JobId, Depends(_job_id)]
