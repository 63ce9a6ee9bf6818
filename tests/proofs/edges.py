"""Every awaited call that leaves the process, named; and one of them made to fail.

`watch_edges` puts itself between core and its drivers: PostgreSQL statements, Redis commands, and HTTP requests to
providers and receivers. A Plan, which follows the tasks of one scenario by a context variable, notes each Step as it
is taken, and at one of them does what the plan says: fails before or after, is cancelled, or ends the process.
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha1
from typing import Any, TypeVar, assert_never

import aiohttp
import asyncpg
import httpx2
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.queue.lua_text import SCRIPTS, lua_text

Answer = TypeVar("Answer")
EXIT_CODE = 9

# As core/db/session.py lists them.
_IDS = re.compile(r"[0-9a-f]{32},?")


class Mishap(StrEnum):
    """What happens at a step.

    `CUT`: the connection is gone before it. `DENIED`: the other side says no. `LOST`: it took effect, and the
    connection is gone before its answer.
    """

    CUT = "cut"
    DENIED = "denied"
    LOST = "lost"
    STEP_CANCELLED = "step cancelled"
    CALLER_CANCELLED = "caller cancelled"
    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"


@dataclass(frozen=True, order=True)
class Step:
    """`nth` counts from 1 the same call by the same part of the product."""

    part: str
    call: str
    nth: int

    def __str__(self) -> str:
        return f"{self.part} > {self.call} #{self.nth}"


@dataclass
class Plan:
    """One scenario's steps, and what happens at some of them. `caller` is the task that waits for what a step does."""

    mishaps: Mapping[str, Mishap] = field(default_factory=dict)
    caller: Callable[[], "asyncio.Task[Any] | None"] = asyncio.current_task
    taken: list[Step] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, call: str) -> Mishap | None:
        """Notes a step; what happens at it, if anything."""
        part = _part()
        self._counts[part, call] += 1
        step = Step(part, call, self._counts[part, call])
        self.taken.append(step)
        mishap = self.mishaps.get(str(step))
        if mishap is not None:
            self.reached.add(str(step))
        return mishap


_plan: ContextVar[Plan | None] = ContextVar("plan", default=None)


@contextmanager
def following(plan: Plan) -> Iterator[None]:
    """Steps of this context, and of the tasks that are made in it, are the plan's."""
    token = _plan.set(plan)
    try:
        yield
    finally:
        _plan.reset(token)


async def _pass(
    call: str,
    act: Callable[[], Awaitable[Answer]],
    *,
    cut: Callable[[], Exception],
    denied: Exception,
    lose: Callable[[Answer], Awaitable[Exception]],
) -> Answer:
    plan = _plan.get()
    mishap = None if plan is None else plan.take(call)
    if plan is None or mishap is None:
        return await act()
    match mishap:
        case Mishap.CUT:
            raise cut()
        case Mishap.DENIED:
            raise denied
        case Mishap.LOST:
            raise await lose(await act())
        case Mishap.DIES_BEFORE:
            os._exit(EXIT_CODE)
        case Mishap.DIES_AFTER:
            await act()
            os._exit(EXIT_CODE)
        case Mishap.STEP_CANCELLED | Mishap.CALLER_CANCELLED:
            task = asyncio.current_task() if mishap is Mishap.STEP_CANCELLED else plan.caller()
            if task is not None:
                task.cancel()
            # Another task's cancellation reaches it when this one lets it: before the step, as often as not.
            await asyncio.sleep(0)
            return await act()
        case _ as never:
            assert_never(never)


@contextmanager
def watch_edges() -> Iterator[None]:
    """While it is open, every call of this process goes through its Plan, if it has one."""
    with ExitStack() as stack:
        for method in ("execute", "fetch", "fetchrow", "fetchval"):
            _wrap(stack, asyncpg.Connection, method, _postgres)
        _wrap(stack, Redis, "execute_command", _redis)
        _wrap(stack, httpx2.AsyncHTTPTransport, "handle_async_request", _provider)
        _wrap(stack, aiohttp.ClientSession, "_request", _receiver)
        yield


def _wrap(stack: ExitStack, owner: type, name: str, around: Callable[..., Awaitable[Any]]) -> None:
    original = getattr(owner, name)

    async def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await around(lambda: original(self, *args, **kwargs), self, *args)

    stack.callback(setattr, owner, name, original)
    setattr(owner, name, wrapped)


async def _postgres(act: Callable[[], Awaitable[Any]], connection: Any, query: str, *_: object) -> Any:
    def lost() -> Exception:
        connection.terminate()
        return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def lose(_: object) -> Exception:
        return lost()

    denied = asyncpg.QueryCanceledError("canceling statement due to statement timeout")
    return await _pass(f"postgres {_statement(query)}", act, cut=lost, denied=denied, lose=lose)


async def _redis(act: Callable[[], Awaitable[Any]], _: Any, command: str, *args: Any) -> Any:
    async def lose(_: object) -> Exception:
        return RedisTimeoutError("Timeout reading from socket")

    name = _SCRIPTS.get(str(args[0]), command) if command == "EVALSHA" else command
    denied = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    return await _pass(
        f"redis {name}", act, cut=lambda: RedisConnectionError("Connection lost"), denied=denied, lose=lose
    )


async def _provider(act: Callable[[], Awaitable[httpx2.Response]], *_: object) -> httpx2.Response:
    async def lose(response: httpx2.Response) -> Exception:
        await response.aclose()
        return httpx2.ReadError("connection lost")

    denied = httpx2.WriteError("broken pipe")
    return await _pass("http provider", act, cut=lambda: httpx2.ConnectError("refused"), denied=denied, lose=lose)


async def _receiver(act: Callable[[], Awaitable[aiohttp.ClientResponse]], *_: object) -> aiohttp.ClientResponse:
    async def lose(response: aiohttp.ClientResponse) -> Exception:
        response.close()
        return aiohttp.ServerDisconnectedError()

    denied = aiohttp.ClientOSError("broken pipe")
    return await _pass("http receiver", act, cut=aiohttp.ServerDisconnectedError, denied=denied, lose=lose)


_SCRIPTS = {
    sha1(lua_text(name).encode(), usedforsecurity=False).hexdigest(): f"script {name.upper()}" for name in SCRIPTS
}


def _statement(query: str) -> str:
    """Its comment's first words, or its own, without the ids of tenants: another test has others."""
    words = _IDS.sub("", query).strip().lstrip("-").split()
    return " ".join(words[:6]).rstrip(";.,")


def _part() -> str:
    """The running task's name, without the id of what it is about."""
    task = asyncio.current_task()
    name = task.get_name() if task is not None else "nobody"
    if name.startswith("Task-"):
        # The pool puts a connection in order in a task of its own.
        return "pool"
    return name.split("_")[0] if name.startswith(("job_", "dlv_")) else name
