"""`inferd run`: submits one job and follows it to its end (cli/client/follow.py), or prints its id and ends."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from cli.client.follow import follow
from cli.client.http import ApiClient, Job
from cli.client.target import call
from cli.exit_codes import CommandFailed, ExitCode
from cli.terminal import print_json


@dataclass(frozen=True)
class Order:
    """What the options of the command ask for. `body` is the request's JSON."""

    body: Mapping[str, JsonValue]
    idempotency_key: str | None
    timeout: float | None
    wait: bool
    as_json: bool


def run(order: Order, *, api_url: str | None, api_key: str | None) -> ExitCode:
    """Raises CommandFailed for everything but a job that succeeded, or that was accepted and is not waited for."""

    async def submit(api: ApiClient) -> Job:
        return await api.submit(order.body, order.idempotency_key)

    if not order.wait:
        job = call(submit, api_url=api_url, api_key=api_key)
        if order.as_json:
            print_json(job.document)
        else:
            print(job.id)
        return ExitCode.OK
    return follow(submit, None, timeout=order.timeout, as_json=order.as_json, api_url=api_url, api_key=api_key)


def read_pairs(option: str, pairs: list[str]) -> dict[str, str]:
    """Returns `name=value` options as a mapping. Raises CommandFailed."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandFailed(f"{option} {pair!r}: write it as name=value.", ExitCode.USAGE)
        found[name] = value
    return found


def read_param(text: str) -> JsonValue:
    """Returns the number, boolean, list … that the text is as JSON; else the text itself."""
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return text
    return value
