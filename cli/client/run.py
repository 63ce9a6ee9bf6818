"""`inferd run`: submits one job, shows its states on stderr, prints its answer on stdout.

The job lives on the server: when the waiting ends before the job does (--timeout, Ctrl-C, a lost connection), the
message says the job's id and how to read or cancel it with `inferd jobs`.
"""

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import orjson
from pydantic import JsonValue
from rich.status import Status

from cli.client.http import ApiClient, ApiFailed, Job
from cli.client.progress import changes
from cli.client.target import find_target
from cli.configuration import storeless_settings
from cli.exit_codes import CommandFailed, ExitCode
from cli.terminal import command_name, progress

_POLL_SECONDS: Final = 0.5
# An API that restarts answers again within this; the job does not notice.
_PATIENCE_SECONDS: Final = 15.0
_RETRY_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Order:
    """What the command line asked for."""

    body: Mapping[str, JsonValue]
    idempotency_key: str | None
    timeout: float | None
    as_json: bool


def run(order: Order, *, api_url: str | None, api_key: str | None) -> ExitCode:
    """Raises CommandFailed for everything but a job that ended."""
    url, key = find_target(storeless_settings(), api_url, api_key)
    watched = _Watched(api_url)
    try:
        asyncio.run(_run(order, url, key, watched))
    except TimeoutError:
        message = f"No result within {order.timeout:g} s. {watched.how_to_go_on()}"
        raise _left(order, watched, message, ExitCode.TIMED_OUT) from None
    except KeyboardInterrupt:
        raise _left(order, watched, f"\n{watched.how_to_go_on()}", ExitCode.INTERRUPTED) from None
    except ApiFailed as error:
        if watched.job is None:
            raise
        raise _left(order, watched, f"{error.message}\n{watched.how_to_go_on()}", error.exit_code) from None
    assert watched.job is not None  # noqa: S101 - _run ends with a job that has ended
    return print_ended(watched.job, as_json=order.as_json)


class _Watched:
    """The job as it was last seen, so that every way out can name it."""

    def __init__(self, named_url: str | None) -> None:
        self._named_url = named_url
        self.job: Job | None = None

    def how_to_go_on(self) -> str:
        if self.job is None:
            return "The job may not have been accepted."
        there = "" if self._named_url is None else f" --api-url {shlex.quote(self._named_url)}"
        return (
            f"The job goes on: {self.job.id}, {self.job.status}.\n"
            f"  read it:    {command_name()} jobs get {self.job.id}{there}\n"
            f"  cancel it:  {command_name()} jobs cancel {self.job.id}{there}"
        )


async def _run(order: Order, url: str, key: str | None, watched: _Watched) -> None:
    async with asyncio.timeout(order.timeout), ApiClient(url, key) as api, _display() as show:

        def look(job: Job) -> None:
            lines = changes(watched.job, job)
            watched.job = job
            for line in lines:
                show(f"{job.id}  {line}")

        job = await api.submit(order.body, order.idempotency_key)
        look(job)
        while not job.ended:
            job = await _next_look(api, job.id)
            look(job)


async def _next_look(api: ApiClient, job_id: str) -> Job:
    """Holds on through a restart of the API. Raises ApiFailed when it is away for longer."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _PATIENCE_SECONDS
    while True:
        try:
            return await api.get(job_id, wait=_POLL_SECONDS)
        except ApiFailed as error:
            if not error.passing or loop.time() >= give_up_at:
                raise
        await asyncio.sleep(_RETRY_SECONDS)


@asynccontextmanager
async def _display() -> AsyncIterator[Callable[[str], None]]:
    """Lines on stderr; on a terminal also a spinner with the last of them."""
    err = progress()
    if not err.is_terminal:
        yield lambda line: err.print(line, soft_wrap=True)
        return
    with Status("Submitting…", console=err) as status:

        def show(line: str) -> None:
            err.print(line, soft_wrap=True)
            status.update(line)

        yield show


def _left(order: Order, watched: _Watched, message: str, exit_code: ExitCode) -> CommandFailed:
    """The end of the waiting, not of the job. A script that reads JSON still learns the id."""
    if order.as_json and watched.job is not None:
        print_document(watched.job)
    return CommandFailed(message, exit_code)


def print_ended(job: Job, *, as_json: bool) -> ExitCode:
    """The answer on stdout. Raises CommandFailed for a job that did not succeed."""
    succeeded = job.status == "succeeded"
    if as_json:
        print_document(job)
    elif job.output is not None:
        print(job.output.text)
    if not as_json and not succeeded:
        why = f": {job.error.message}\n{job.error.next_step}" if job.error else "."
        raise CommandFailed(f"The job {job.id} {_how_it_ended(job.status)}{why}", ExitCode.FAILED)
    if not as_json:
        progress().print(_summary(job), soft_wrap=True)
    return ExitCode.OK if succeeded else ExitCode.FAILED


def _how_it_ended(status: str) -> str:
    return {"cancelled": "was cancelled"}.get(status, status)


def _summary(job: Job) -> str:
    parts = [f"waited {job.queue_ms} ms" if job.queue_ms is not None else ""]
    parts.append(f"ran {job.run_ms} ms" if job.run_ms is not None else "")
    if job.usage is not None:
        parts.append(f"tokens {job.usage.input_tokens or 0} in, {job.usage.output_tokens or 0} out")
    return " · ".join(part for part in parts if part)


def print_document(job: Job) -> None:
    """The whole job as JSON, on stdout."""
    sys.stdout.write(orjson.dumps(job.document, option=orjson.OPT_INDENT_2).decode() + "\n")
    sys.stdout.flush()


def read_pairs(option: str, pairs: list[str]) -> dict[str, str]:
    """`key=value` options as a mapping. Raises CommandFailed."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandFailed(f"{option} {pair!r}: write it as name=value.", ExitCode.USAGE)
        found[name] = value
    return found


def read_param(text: str) -> JsonValue:
    """A number, true, a list … when it is JSON; else the text itself."""
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return text
    return value
