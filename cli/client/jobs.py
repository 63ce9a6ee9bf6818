"""`inferd jobs list|get|wait|cancel|retry`: calls of the API, and their results as text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from cli.client.follow import follow, print_ended
from cli.client.http import ApiClient, Job
from cli.client.target import call
from cli.command_name import next_page
from cli.exit_codes import ExitCode
from cli.terminal import print_json, print_table, progress

_COLUMNS: Final = ("id", "status", "model", "attempts", "created_at", "finished_at", "error")


def show_list(query: Sequence[tuple[str, str]], *, as_json: bool, api_url: str | None, api_key: str | None) -> None:
    """Prints a page of jobs, newest first; on stderr the command for the next page."""

    async def ask(api: ApiClient) -> dict[str, Any]:
        return await api.ask("GET", f"/v1/jobs?{urlencode(query)}")

    found = call(ask, api_url=api_url, api_key=api_key)
    if as_json:
        print_json(found)
        return
    print_table(_COLUMNS, [_row(each) for each in found["data"]])
    if found["has_more"]:
        more = next_page(["jobs", "list", *_options(query)], found["next_cursor"], api_url)
        progress().print(f"More: {more}", soft_wrap=True)


def _options(query: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The words of the command line that ask for the same, without the page."""
    for name, value in query:
        if name.startswith("metadata["):
            yield from ("--metadata", f"{name[len('metadata[') : -1]}={value}")
        elif name != "after":
            yield from (f"--{name}", value)


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
    """Returns the time without fractions of a second."""
    return "" if text is None else text.partition(".")[0].removesuffix("Z").replace("T", " ")


def show(job_id: str, *, as_json: bool, api_url: str | None, api_key: str | None) -> ExitCode:
    """Prints a job that has ended as `inferd run` does, and the state of any other."""

    async def read(api: ApiClient) -> Job:
        return await api.get(_path_part(job_id))

    job = call(read, api_url=api_url, api_key=api_key)
    if job.ended:
        return print_ended(job, as_json=as_json)
    if as_json:
        print_json(job.document)
    else:
        print(f"{job.id}  {job.status}  {job.model}  attempts: {job.attempts_used}")
    return ExitCode.OK


def wait(job_id: str, timeout: float | None, *, as_json: bool, api_url: str | None, api_key: str | None) -> ExitCode:
    """Raises CommandFailed for a job that did not succeed, or not within `timeout` seconds."""

    async def read(api: ApiClient) -> Job:
        return await api.get(_path_part(job_id))

    return follow(read, job_id, timeout=timeout, as_json=as_json, api_url=api_url, api_key=api_key)


def change(job_id: str, action: str, *, as_json: bool, api_url: str | None, api_key: str | None) -> None:
    """Prints the state of the job after `cancel` or `retry`."""

    async def work(api: ApiClient) -> Job:
        return await api.change(_path_part(job_id), action)

    job = call(work, api_url=api_url, api_key=api_key)
    if as_json:
        print_json(job.document)
    else:
        print(f"{job.id}  {job.status}")


def _path_part(job_id: str) -> str:
    return quote(job_id, safe="")
