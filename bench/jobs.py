"""Jobs for scenarios that don't measure the submit: submitted in this process, and read back from PostgreSQL."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from pydantic import JsonValue

from bench.stack import Bench
from core.jobs.submit import Accepted, Draft, Order, submit_jobs
from core.runtime import open_api
from core.settings import ProviderSettings

_AT_ONCE: Final = 1000
_LOOK_SECONDS: Final = 0.25


class JobsFailed(Exception):
    """A measured job did not succeed."""


def draft(model: str = "echo/echo", params: Mapping[str, JsonValue] | None = None, **changes: Any) -> Draft:
    """Returns a job as a caller would submit it."""
    messages: list[JsonValue] = [{"role": "user", "content": "Say hello to the reader of this report."}]
    return Draft(model, messages, dict(params or {}), **changes)


async def queue(bench: Bench, count: int, what: Draft, *, tenant: int = 0, provider_url: str | None = None) -> None:
    """Commits and enqueues `count` jobs of a tenant; all are in Redis when it returns. The provider is for `mock/…`."""
    settings = bench.settings
    if provider_url is not None:
        settings = settings.model_copy(update={"providers": {"mock": ProviderSettings(base_url=provider_url)}})
    async with open_api(settings) as runtime:
        for start in range(0, count, _AT_ONCE):
            orders = [Order(what)] * min(_AT_ONCE, count - start)
            outcomes = await submit_jobs(runtime.jobs, bench.tenants[tenant].id, orders, request_id=None)
            if not all(isinstance(outcome, Accepted) for outcome in outcomes):
                raise JobsFailed(f"not all of {len(orders)} jobs were taken")


async def until_succeeded(bench: Bench, count: int, *, seconds: float = 300.0) -> None:
    """Waits until `count` jobs have succeeded. Raises JobsFailed when one ended otherwise."""
    async with asyncio.timeout(seconds):
        while True:
            row = await bench.owner.fetchrow(
                "SELECT count(*) FILTER (WHERE state = 'succeeded') AS good,"
                " count(*) FILTER (WHERE finished_at IS NOT NULL AND state <> 'succeeded') AS bad FROM jobs"
            )
            assert row is not None  # noqa: S101 - an aggregate has a row
            if row["bad"]:
                raise JobsFailed(f"{row['bad']} jobs did not succeed")
            if row["good"] >= count:
                return
            await asyncio.sleep(_LOOK_SECONDS)


async def running_seconds(bench: Bench) -> float:
    """Returns the seconds from the first claim to the last finish, by PostgreSQL's clock."""
    return float(
        await bench.owner.fetchval("SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM jobs")
    )
