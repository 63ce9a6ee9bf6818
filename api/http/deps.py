"""What a route's signature is built from, where FastAPI reads the arguments: runtime, caller, body, job id."""

from typing import Annotated, cast

from fastapi import Depends, Request
from pydantic import JsonValue

from api.http.admission import Call, admit
from api.http.ids import job_id_of
from core.access.authenticate import Caller
from core.domain.ids import JobId
from core.runtime import ApiRuntime

CallDep = Annotated[Call, Depends(admit)]


async def _runtime(request: Request) -> ApiRuntime:
    return cast(ApiRuntime, request.state.runtime)


RuntimeDep = Annotated[ApiRuntime, Depends(_runtime)]


async def _caller(call: CallDep) -> Caller:
    return call.caller


CallerDep = Annotated[Caller, Depends(_caller)]


async def _body(call: CallDep) -> dict[str, JsonValue]:
    # After the caller is known: nobody else's body is read.
    return await call.body()


BodyDep = Annotated[dict[str, JsonValue], Depends(_body)]


async def _job_id(job_id: str) -> JobId:
    return job_id_of(job_id)


JobIdDep = Annotated[JobId, Depends(_job_id)]
