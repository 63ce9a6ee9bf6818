"""`/livez`, `/readyz` and `/metrics`, for probes and Prometheus. No key, no caller, nothing of any tenant."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from typing_extensions import TypedDict

from api.http.fields import described
from api.http.json_response import json_response
from api.http.operations import Endpoint, Returns, operation
from core.observability.metrics import render
from core.runtime import ApiRuntime

router = APIRouter(tags=["health"], route_class=Endpoint)

_PROBE_SECONDS: Final = 2.0
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


class LiveView(TypedDict):
    """The process serves requests."""

    status: Annotated[str, described("Always `ok`.", "ok")]


class ChecksView(TypedDict):
    """The stores, each `ok` or `unreachable`."""

    postgres: Annotated[
        str, described("PostgreSQL; without it no job can be accepted.", "ok", values=("ok", "unreachable"))
    ]
    redis: Annotated[str, described("Redis; without it jobs start later.", "ok", values=("ok", "unreachable"))]


class ReadyView(TypedDict):
    """Whether jobs can be accepted."""

    status: Annotated[str, described("Whether jobs can be accepted.", "ok", values=("ok", "unavailable"))]
    checks: Annotated[ChecksView, described("What was checked.")]


@router.get(
    "/livez",
    **operation(
        "livez", "Check liveness", public=True, returns={200: Returns(LiveView, "The process serves requests.")}
    ),
)
async def livez(_request: Request) -> Response:
    """Returns 200 while the process serves requests."""
    return json_response({"status": "ok"})


@router.get(
    "/readyz",
    **operation(
        "readyz",
        "Check readiness",
        public=True,
        returns={
            200: Returns(ReadyView, "Jobs can be accepted."),
            503: Returns(ReadyView, "PostgreSQL can't be reached."),
        },
    ),
)
async def readyz(request: Request) -> Response:
    """Returns 200 while PostgreSQL can be reached, else 503. Redis is not needed to accept jobs."""
    runtime: ApiRuntime = request.state.runtime
    postgres, redis = await asyncio.gather(_postgres_answers(runtime), _redis_answers(runtime))
    checks = {"postgres": "ok" if postgres else "unreachable", "redis": "ok" if redis else "unreachable"}
    return json_response({"status": "ok" if postgres else "unavailable", "checks": checks}, 200 if postgres else 503)


@router.get(
    "/metrics",
    **operation(
        "metrics",
        "Get Prometheus metrics",
        public=True,
        returns={
            200: Returns(
                None,
                "The metrics of this process.",
                media_type=_PROMETHEUS,
                example='inferd_jobs_submitted_total{priority="standard",provider="echo"} 4.0',
            )
        },
    ),
)
async def metrics(_request: Request) -> Response:
    """Returns the metrics of the process, in Prometheus's text format."""
    return Response(render(), media_type=_PROMETHEUS)


async def _postgres_answers(runtime: ApiRuntime) -> bool:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return await runtime.database.answers()
    except TimeoutError:
        return False


async def _redis_answers(runtime: ApiRuntime) -> bool:
    return await runtime.jobs.enqueuer.answers(_PROBE_SECONDS)
