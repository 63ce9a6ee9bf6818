"""`inferd jobs list|get|cancel|retry`: calls of the API, and what they return in words."""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from cli.client.http import ApiClient, Job
from cli.client.run import print_document, print_ended
from cli.client.target import call
from cli.exit_codes import CommandFailed, ExitCode
from cli.terminal import command_name, print_table, progress

# Less than the API's own maximum and than the client's patience with one answer.
_LOOK_SECONDS: Final = 20.0
_COLUMNS: Final = ("id", "status", "model", "attempts", "created_at", "finished_at", "error")


def show_list(query: Sequence[tuple[str, str]], *, as_json: bool, api_url: str | None, api_key: str | None) -> None:
    """A page of jobs, newest first; on stderr how to see the next one."""

    async def ask(api: ApiClient) -> dict[str, Any]:
        return await api.ask("GET", f"/v1/jobs?{urlencode(query)}")

    found = call(ask, api_url=api_url, api_key=api_key)
    if as_json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    print_table(_COLUMNS, [_row(each) for each in found["data"]])
    if found["has_more"]:
        progress().print(f"More: {next_page(query, found['next_cursor'])}", soft_wrap=True)


def next_page(query: Sequence[tuple[str, str]], cursor: str) -> str:
    """The command for it, to be pasted into a shell."""
    words = [command_name(), "jobs", "list"]
    for name, value in query:
        if name.startswith("metadata["):
            words += ["--metadata", shlex.quote(f"{name[len('metadata[') : -1]}={value}")]
        elif name != "after":
            words += [f"--{name}", shlex.quote(value)]
    return " ".join([*words, "--after", cursor])


def _row(job: Mapping[str, Any]) -> dict[str, str]:
    return {
        "id": job["id"],
        "status": job["status"],
        "model": job["model"],
        "attempts": f"{job['attempts_used']} of {job['max_attempts']}",
        "created_at": _time(job["created_at"]),
        "finished_at": _time(job["finished_at"]),
        "error": job["error"]["code"] if job["error"] else "",
    }


def _time(text: str | None) -> str:
    """To the second, which is enough to find a job by."""
    return "" if text is None else text.partition(".")[0].removesuffix("Z").replace("T", " ")


def show(job_id: str, wait: float, *, as_json: bool, api_url: str | None, api_key: str | None) -> ExitCode:
    """As `inferd run` ends, for a job that has ended. TIMED_OUT when it has not within `wait` seconds."""

    async def look(api: ApiClient) -> Job:
        give_up_at = asyncio.get_running_loop().time() + wait
        while True:
            left = max(0.0, give_up_at - asyncio.get_running_loop().time())
            job = await api.get(quote(job_id, safe=""), wait=min(left, _LOOK_SECONDS))
            if job.ended or left <= _LOOK_SECONDS:
                return job

    job = call(look, api_url=api_url, api_key=api_key)
    if job.ended:
        return print_ended(job, as_json=as_json)
    if as_json:
        print_document(job)
    else:
        print(f"{job.id}  {job.status}  {job.model}  attempts: {job.attempts_used}")
    if wait:
        raise CommandFailed(f"{job.id} has not ended within {wait:g} s; it goes on.", ExitCode.TIMED_OUT)
    return ExitCode.OK


def change(job_id: str, action: str, *, as_json: bool, api_url: str | None, api_key: str | None) -> None:
    """Prints the state that `cancel` or `retry` left the job in."""

    async def work(api: ApiClient) -> Job:
        return await api.change(quote(job_id, safe=""), action)

    job = call(work, api_url=api_url, api_key=api_key)
    if as_json:
        print_document(job)
    else:
        print(f"{job.id}  {job.status}")
