"""`inferd webhooks deliveries` and `redeliver`: calls of the API, and their results as text."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from cli.client.http import ApiClient
from cli.client.target import call
from cli.command_name import next_page
from cli.exit_codes import ExitCode
from cli.terminal import print_json, print_table, progress, results

_LOOK_SECONDS: Final = 0.2


def show_deliveries(
    of: str,
    statuses: Sequence[str],
    limit: int,
    after: str | None,
    *,
    as_json: bool,
    api_url: str | None,
    api_key: str | None,
) -> None:
    """A page of an endpoint's or a job's, and on stderr the command for the next page; one delivery with its log."""
    query = [("limit", str(limit)), *(("status", each) for each in statuses)]

    async def ask(api: ApiClient) -> dict[str, Any]:
        if of.startswith("dlv_"):
            return await api.ask("GET", f"/v1/webhook_deliveries/{of}")
        cursor = [] if after is None else [("after", after)]
        owner = f"jobs/{of}" if of.startswith("job_") else f"webhook_endpoints/{of}"
        return await api.ask("GET", f"/v1/{owner}/deliveries?{urlencode([*query, *cursor])}")

    found = call(ask, api_url=api_url, api_key=api_key)
    if as_json:
        print_json(found)
    elif "log" in found:
        _print_log(found)
    else:
        _print_list(found["data"])
        if found["has_more"]:
            words = ["webhooks", "deliveries", of, *(word for name, value in query for word in (f"--{name}", value))]
            progress().print(f"More: {next_page(words, found['next_cursor'], api_url)}", soft_wrap=True)


def send_again(delivery: str, timeout: float, *, api_url: str | None, api_key: str | None) -> ExitCode:
    """OK when it was delivered; the attempt goes on when the waiting ends."""

    async def send(api: ApiClient) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        before = (await api.ask("GET", f"/v1/webhook_deliveries/{delivery}"))["attempts"]
        found = await api.ask("POST", f"/v1/webhook_deliveries/{delivery}/redeliver")
        give_up_at = asyncio.get_running_loop().time() + timeout
        while True:
            made = [line for line in found["log"] if line["attempt"] > before]
            if made or asyncio.get_running_loop().time() >= give_up_at:
                return found, made
            await asyncio.sleep(_LOOK_SECONDS)
            found = await api.ask("GET", f"/v1/webhook_deliveries/{delivery}")

    found, made = call(send, api_url=api_url, api_key=api_key)
    last = _outcome(made[-1]) if made else f"no worker has sent it within {timeout:g} s"
    results().print(f"{delivery} is {found['status']} after {found['attempts']} attempts, {last}.")
    if found["status"] == "delivered":
        return ExitCode.OK
    return ExitCode.FAILED if made else ExitCode.TIMED_OUT


def _outcome(line: Mapping[str, Any]) -> str:
    status = line["http_status"]
    return f"the last one: {line['error'] if status is None else f'HTTP {status}'}"


def _print_list(data: Sequence[Mapping[str, Any]]) -> None:
    columns = ("id", "event", "status", "attempts", "http_status", "error", "created_at", "next_attempt_at")
    print_table(columns, [{column: _text(each[column]) for column in columns} for each in data])


def _print_log(found: Mapping[str, Any]) -> None:
    results().print(
        f"{found['id']}  {found['event']}  {found['status']}  {found['webhook_id']}\n{found['url']}", soft_wrap=True
    )
    timings = ("dns_ms", "connect_ms", "tls_ms", "first_byte_ms", "total_ms")
    columns = ("attempt", "trigger", "started_at", "http_status", "error", "excerpt", "next_attempt_at")
    rows = [
        {column: _text(line[column]) for column in columns}
        | {column: _text(line["timing"][column]) for column in timings}
        for line in found["log"]
    ]
    print_table((*columns[:5], *timings, *columns[5:]), rows)


def _text(value: object) -> str:
    return "" if value is None else str(value)
