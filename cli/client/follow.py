"""Follows one job to its end: its states on stderr, its output on stdout. Used by `inferd run` and `inferd jobs wait`.

The job lives on the server. When the waiting ends before the job does (--timeout, Ctrl-C, a lost connection), the
message names the job and the commands that wait for it again or cancel it.
"""

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from rich.status import Status

from cli.client.http import ApiClient, ApiFailed, Job
from cli.client.progress import changes
from cli.client.target import find_target
from cli.command_name import command_name
from cli.configuration import storeless_settings
from cli.exit_codes import CommandFailed, ExitCode
from cli.terminal import print_json, progress

_POLL_SECONDS: Final = 0.5
# An API that restarts is back within this time; the job does not notice.
_PATIENCE_SECONDS: Final = 15.0
_RETRY_SECONDS: Final = 0.5

Begin = Callable[[ApiClient], Awaitable[Job]]
"""Submits a job, or reads one that exists."""


@dataclass
class _Following:
    """The job as it was last seen, so that every end of the waiting can name it. `job_id` is None for a new job."""

    job_id: str | None
    api_url: str | None
    timeout: float | None
    as_json: bool
    job: Job | None = None

    def stopped(self, reason: str, exit_code: ExitCode) -> CommandFailed:
        """Returns the error for a waiting that ended before the job. A script that reads JSON still gets the id."""
        job_id = self.job.id if self.job else self.job_id
        if job_id is None:
            return CommandFailed(f"{reason}The job may not have been accepted.", exit_code)
        if self.as_json and self.job:
            print_json(self.job.document)
        state = f"is {self.job.status} and " if self.job else ""
        url = "" if self.api_url is None else f" --api-url {shlex.quote(self.api_url)}"
        return CommandFailed(
            f"{reason}The job {job_id} {state}continues on the server.\n"
            f"  wait for it:  {command_name()} jobs wait {job_id}{url}\n"
            f"  cancel it:    {command_name()} jobs cancel {job_id}{url}",
            exit_code,
        )


def follow(
    begin: Begin, job_id: str | None, *, timeout: float | None, as_json: bool, api_url: str | None, api_key: str | None
) -> ExitCode:
    """Prints the output of the job that `begin` returns. Raises CommandFailed if it did not succeed or did not end."""
    url, key = find_target(storeless_settings(), api_url, api_key)
    following = _Following(job_id, api_url, timeout, as_json)
    try:
        job = asyncio.run(_follow(begin, url, key, following))
    except TimeoutError:
        raise following.stopped(f"No result within {timeout:g} s. ", ExitCode.TIMED_OUT) from None
    except KeyboardInterrupt:
        raise following.stopped("\n", ExitCode.INTERRUPTED) from None
    except ApiFailed as error:
        if following.job is None:
            raise
        raise following.stopped(f"{error.message}\n", error.exit_code) from None
    return print_ended(job, as_json=as_json)


async def _follow(begin: Begin, url: str, key: str | None, following: _Following) -> Job:
    async with asyncio.timeout(following.timeout), ApiClient(url, key) as api, _display() as show:
        job = await begin(api)
        while True:
            for line in changes(following.job, job):
                show(f"{job.id}  {line}")
            following.job = job
            if job.ended:
                return job
            job = await _next_look(api, job.id)


async def _next_look(api: ApiClient, job_id: str) -> Job:
    """Waits through a restart of the API. Raises ApiFailed when it is away for longer."""
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
    """Yields a function that prints a line on stderr; on a terminal a spinner shows the last line as well."""
    err = progress()
    if not err.is_terminal:
        yield lambda line: err.print(line, soft_wrap=True)
        return
    with Status("Connecting…", console=err) as status:

        def show(line: str) -> None:
            err.print(line, soft_wrap=True)
            status.update(line)

        yield show


def print_ended(job: Job, *, as_json: bool) -> ExitCode:
    """Prints the output on stdout. Raises CommandFailed for a job that did not succeed."""
    succeeded = job.status == "succeeded"
    if as_json:
        print_json(job.document)
        return ExitCode.OK if succeeded else ExitCode.FAILED
    if job.output is not None:
        print(job.output.text)
    if not succeeded:
        why = f": {job.error.message}\n{job.error.next_step}" if job.error else "."
        ending = "was cancelled" if job.status == "cancelled" else job.status
        raise CommandFailed(f"The job {job.id} {ending}{why}", ExitCode.FAILED)
    progress().print(_summary(job), soft_wrap=True)
    return ExitCode.OK


def _summary(job: Job) -> str:
    parts = [f"{job.attempts_used} attempts" if job.attempts_used > 1 else ""]
    parts.append(f"queued for {job.queue_ms} ms" if job.queue_ms is not None else "")
    parts.append(f"ran for {job.run_ms} ms" if job.run_ms is not None else "")
    if job.usage is not None:
        parts.append(f"{job.usage.input_tokens or 0} tokens in, {job.usage.output_tokens or 0} out")
    return " · ".join(part for part in parts if part)
