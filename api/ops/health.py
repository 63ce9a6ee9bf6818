"""`/livez`, `/readyz` and `/metrics`, for probes and Prometheus. No key, no caller, nothing of any tenant."""

import asyncio
from typing import Final

from fastapi import APIRouter, Response

from api.http.deps import RuntimeDep
from api.http.json_response import json_response
from core.observability.metrics import render
from core.runtime import ApiRuntime

router = APIRouter(tags=["health"])

_PROBE_SECONDS: Final = 2.0


@router.get("/livez")
async def livez() -> Response:
    """The process answers."""
    return json_response({"status": "ok"})


@router.get("/readyz")
async def readyz(runtime: RuntimeDep) -> Response:
    """Whether jobs can be accepted: 200 while PostgreSQL responds, else 503. Redis is not needed to accept jobs."""
    postgres, redis = await asyncio.gather(_postgres_answers(runtime), _redis_answers(runtime))
    checks = {"postgres": "ok" if postgres else "unreachable", "redis": "ok" if redis else "unreachable"}
    return json_response({"status": "ok" if postgres else "unavailable", "checks": checks}, 200 if postgres else 503)


@router.get("/metrics")
async def metrics() -> Response:
    """The metrics of the process, in Prometheus's text format."""
    return Response(render(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _postgres_answers(runtime: ApiRuntime) -> bool:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return await runtime.database.answers()
    except TimeoutError:
        return False


async def _redis_answers(runtime: ApiRuntime) -> bool:
    return await runtime.jobs.enqueuer.answers(_PROBE_SECONDS)
