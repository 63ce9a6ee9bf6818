"""Opens what the API is made of, and follows changes of jobs, from start to stop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI

from api.http.open_requests import OpenRequests
from core.process import end_tasks
from core.queue.subscription import listen
from core.runtime import ApiRuntime

OpenRuntime = Callable[[], AbstractAsyncContextManager[ApiRuntime]]


class State(TypedDict):
    """What every request finds in its ASGI state."""

    runtime: ApiRuntime
    open_requests: OpenRequests


def lifespan(open_runtime: OpenRuntime) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[State]:
        async with open_runtime() as runtime:
            app.state.runtime, app.state.open_requests = runtime, OpenRequests(runtime.settings.api)
            subscription = asyncio.create_task(
                listen(
                    runtime.redis,
                    {runtime.keys.changed: runtime.watch.changed},
                    on_connect=runtime.watch.look_again,
                ),
                name="subscription",
            )
            try:
                yield {"runtime": runtime, "open_requests": app.state.open_requests}
            finally:
                await end_tasks([subscription])

    return run
