"""`inferd webhooks endpoints …`: calls of the API, and their results as text."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import typer

from cli.client.http import ANSWER_SECONDS, ApiClient, ApiFailed
from cli.client.target import call
from cli.command_name import next_page, to_paste
from cli.exit_codes import CommandFailed, ExitCode
from cli.terminal import print_json, print_table, progress, results

_COLUMNS: Final = ("id", "name", "url", "enabled", "failures", "events")
_TIMES: Final = {"created_at", "updated_at", "disabled_at", "failing_since"}
_SUCCESS: Final = range(200, 300)
# The API waits for a worker, and for the receiver as long as INFERD_WEBHOOK_TIMEOUT_SECONDS may be.
_TEST_SECONDS: Final = 80.0


def show_list(limit: int, after: str | None, *, as_json: bool, api_url: str | None, api_key: str | None) -> None:
    """A page of endpoints, newest first; on stderr the command for the next page."""
    query = {"limit": str(limit)} | ({} if after is None else {"after": after})
    found = _ask("GET", f"?{urlencode(query)}", api_url=api_url, api_key=api_key)
    if as_json:
        print_json(found)
        return
    print_table(_COLUMNS, [_row(each) for each in found["data"]])
    if found["has_more"]:
        words = ["webhooks", "endpoints", "list", "--limit", str(limit)]
        progress().print(f"More: {next_page(words, found['next_cursor'], api_url)}", soft_wrap=True)


def create(body: Mapping[str, Any], *, as_json: bool, api_url: str | None, api_key: str | None) -> None:
    """Prints the endpoint with its secret, and on stderr how to test it."""
    made = _ask("POST", "", body, api_url=api_url, api_key=api_key)
    _print(made, as_json=as_json)
    test = to_paste(["webhooks", "endpoints", "test", made["id"]], api_url)
    progress().print(f"The signing secret is shown only once. Test it with: {test}", soft_wrap=True)


def show(endpoint: str, *, as_json: bool, api_url: str | None, api_key: str | None) -> None:
    _print(_ask("GET", f"/{quote(endpoint, safe='')}", api_url=api_url, api_key=api_key), as_json=as_json)


def update(endpoint: str, body: Mapping[str, Any], *, as_json: bool, api_url: str | None, api_key: str | None) -> None:
    """Raises CommandFailed when nothing is to be changed."""
    if not body:
        raise CommandFailed("Name what to change, such as --url or --disable; --help lists it.", ExitCode.USAGE)
    _print(_ask("POST", f"/{quote(endpoint, safe='')}", body, api_url=api_url, api_key=api_key), as_json=as_json)


def delete(endpoint: str, *, yes: bool, api_url: str | None, api_key: str | None) -> None:
    """Asks first, unless `yes`. Raises CommandFailed where nobody can be asked."""
    if not yes and not sys.stdin.isatty():
        raise CommandFailed(f"This deletes {endpoint} and its deliveries; say --yes to do it.", ExitCode.USAGE)
    if not yes and not typer.confirm(f"Delete {endpoint} and its deliveries?", err=True):
        raise CommandFailed("Nothing was deleted.", ExitCode.FAILED)
    _ask("DELETE", f"/{quote(endpoint, safe='')}", api_url=api_url, api_key=api_key)
    results().print(f"Deleted {endpoint}.")


def rotate(endpoint: str, body: Mapping[str, Any], *, as_json: bool, api_url: str | None, api_key: str | None) -> None:
    made = _ask("POST", f"/{quote(endpoint, safe='')}/rotate_secret", body, api_url=api_url, api_key=api_key)
    _print(made, as_json=as_json)
    progress().print("The signing secret is shown only once.")


def send_sample(endpoint: str, event: str, *, api_url: str | None, api_key: str | None) -> ExitCode:
    """OK when the receiver responded with 2xx."""
    path = f"/{quote(endpoint, safe='')}/test"
    try:
        body = {"event_type": event}
        tested = _ask("POST", path, body, seconds=_TEST_SECONDS, api_url=api_url, api_key=api_key)
    except ApiFailed as failed:
        if failed.code != "webhook_unanswered":
            raise
        raise CommandFailed(failed.message) from None
    results().print(f"{endpoint} responded to {event} with HTTP {tested['status_code']}.")
    return ExitCode.OK if tested["status_code"] in _SUCCESS else ExitCode.FAILED


def _ask(
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    seconds: float = ANSWER_SECONDS,
    api_url: str | None,
    api_key: str | None,
) -> dict[str, Any]:
    async def ask(api: ApiClient) -> dict[str, Any]:
        return await api.ask(method, f"/v1/webhook_endpoints{path}", body, seconds=seconds)

    return call(ask, api_url=api_url, api_key=api_key)


def _print(endpoint: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(endpoint)
        return
    for field, value in endpoint.items():
        if field != "object" and value is not None:
            results().print(f"{field.replace('_', ' '):<22}{_text(field, value)}", soft_wrap=True)


def _row(endpoint: Mapping[str, Any]) -> dict[str, str]:
    shown = {**endpoint, "events": endpoint["event_types"]}
    return {column: _text(column, shown[column]) for column in _COLUMNS}


def _text(field: str, value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case int() if field in _TIMES:
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
        case _:
            return str(value)
