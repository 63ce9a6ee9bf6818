"""`inferd webhooks endpoints`: register, read, change, test and delete webhook endpoints, over the API.

The signatures of the commands; cli/webhooks/endpoints.py does the work. Added by cli/webhooks/commands.py.
"""

from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.options import ApiKeyOption, ApiUrlOption, Output, OutputOption
from core.domain.events import JOB_EVENT_TYPES

endpoints = typer.Typer(
    help="Webhook endpoints: the URLs that events are sent to, each signed with a secret of its own.",
    no_args_is_help=True,
)

EndpointArgument = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's id, we_….")]
RateOption = Annotated[
    float | None, typer.Option(min=0, help="Maximum number of deliveries per second; 0 means no limit.")
]
_EVENT_HELP = "A type of event to send, as listed by `GET /v1/webhook_event_types`. May be repeated."


class Signature(StrEnum):
    HMAC = "v1"
    ED25519 = "v1a"


@endpoints.command("list")
def list_endpoints(
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of endpoints.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only endpoints older than this we_…; for the next page.")] = None,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """List endpoints, newest first."""
    from cli.webhooks.endpoints import show_list

    show_list(limit, after, as_json=output is Output.JSON, api_url=api_url, api_key=api_key)


@endpoints.command("create")
def create(
    url: Annotated[str, typer.Argument(help="Where to send events, such as https://example.com/webhooks.")],
    event: Annotated[
        list[str] | None, typer.Option(help=f"{_EVENT_HELP} Default: {', '.join(JOB_EVENT_TYPES)}.")
    ] = None,
    name: Annotated[str, typer.Option(help="A name for the endpoint. Default: the URL.")] = "",
    include_result: Annotated[
        bool, typer.Option("--include-result", help="Include the output in job.succeeded.")
    ] = False,
    max_per_second: RateOption = None,
    signature: Annotated[
        Signature, typer.Option(help="Signature scheme: v1 is HMAC-SHA256, v1a is ed25519.")
    ] = Signature.HMAC,
    disabled: Annotated[
        bool, typer.Option("--disabled", help="Register it disabled: send nothing until it is enabled.")
    ] = False,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Register an endpoint and print its signing secret, which is shown only once."""
    from cli.webhooks.endpoints import create as register

    body: dict[str, Any] = {
        "name": name or url[:100],
        "url": url,
        "event_types": event or list(JOB_EVENT_TYPES),
        "include_result": include_result,
        "max_per_second": max_per_second or None,
        "signature": signature.value,
        "enabled": not disabled,
    }
    register(body, as_json=output is Output.JSON, api_url=api_url, api_key=api_key)


@endpoints.command("get")
def get(
    endpoint: EndpointArgument,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Show an endpoint and its recent failures."""
    from cli.webhooks.endpoints import show

    show(endpoint, as_json=output is Output.JSON, api_url=api_url, api_key=api_key)


@endpoints.command("update")
def update(
    endpoint: EndpointArgument,
    url: Annotated[str | None, typer.Option(help="The new URL; pending deliveries go there too.")] = None,
    event: Annotated[list[str] | None, typer.Option(help=f"{_EVENT_HELP} Replaces the previous types.")] = None,
    name: Annotated[str | None, typer.Option(help="A new name for the endpoint.")] = None,
    include_result: Annotated[
        bool | None, typer.Option("--include-result/--no-include-result", help="Include the output in job.succeeded.")
    ] = None,
    max_per_second: RateOption = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Send events, or keep them as skipped deliveries.")
    ] = None,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Change the fields that the options name; the others stay the same."""
    from cli.webhooks.endpoints import update as change

    named = {"url": url, "event_types": event, "name": name, "include_result": include_result, "enabled": enabled}
    body: dict[str, Any] = {field: value for field, value in named.items() if value not in (None, [])}
    if max_per_second is not None:
        body["max_per_second"] = max_per_second or None
    change(endpoint, body, as_json=output is Output.JSON, api_url=api_url, api_key=api_key)


@endpoints.command("delete")
def delete(
    endpoint: EndpointArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Delete an endpoint, its deliveries and their log."""
    from cli.webhooks.endpoints import delete as remove

    remove(endpoint, yes=yes, api_url=api_url, api_key=api_key)


@endpoints.command("rotate-secret")
def rotate_secret(
    endpoint: EndpointArgument,
    keep_old: Annotated[
        bool,
        typer.Option(
            "--keep-old-for-24-hours", help="Sign with the old secret too for 24 hours. Default: only with the new one."
        ),
    ] = False,
    signature: Annotated[Signature | None, typer.Option(help="Change the signature scheme too.")] = None,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Create a new signing secret and print it; it is shown only once."""
    from cli.webhooks.endpoints import rotate

    body: dict[str, Any] = {"keep_old_secret_active_for_24_hours": keep_old}
    if signature is not None:
        body["signature"] = signature.value
    rotate(endpoint, body, as_json=output is Output.JSON, api_url=api_url, api_key=api_key)


@endpoints.command("test")
def send_test(
    endpoint: EndpointArgument,
    event: Annotated[str, typer.Option(help="The type of the test event.")] = "webhook.ping",
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Send a test event to an endpoint once, and print the status of its response."""
    from cli.webhooks.endpoints import send_sample

    raise typer.Exit(send_sample(endpoint, event, api_url=api_url, api_key=api_key))
