"""Opens what the API is made of, and listens for changed jobs, from start to stop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI

from api.http.admission import Admission
from core.process import end_tasks
from core.queue.subscription import listen
from core.runtime import ApiRuntime

OpenRuntime = Callable[[], AbstractAsyncContextManager[ApiRuntime]]


class State(TypedDict):
    """What every request finds in `request.state`."""

    runtime: ApiRuntime
    admission: Admission


def lifespan(open_runtime: OpenRuntime) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[State]:
        async with open_runtime() as runtime:
            app.state.runtime, app.state.admission = runtime, Admission(runtime.settings.api)
            subscription = asyncio.create_task(
                listen(
                    runtime.redis,
                    {runtime.keys.changed: runtime.watch.changed},
                    on_connect=runtime.watch.look_again,
                ),
                name="subscription",
            )
            try:
                yield {"runtime": runtime, "admission": app.state.admission}
            finally:
                await end_tasks([subscription])

    return run
