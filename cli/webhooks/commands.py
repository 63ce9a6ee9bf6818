"""`inferd webhooks`: register endpoints, receive events here, read and repeat deliveries, check signatures.

The signatures of the commands; the modules that do the work are imported on use. Registered by cli/app.py.
"""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import ApiKeyOption, ApiUrlOption, Output, OutputOption
from cli.webhooks.endpoint_commands import endpoints

webhooks = typer.Typer(
    help="Webhooks: register endpoints, receive events here, read and repeat deliveries, check signatures.",
    no_args_is_help=True,
)
webhooks.add_typer(endpoints, name="endpoints")


def register(app: typer.Typer) -> None:
    app.add_typer(webhooks, name="webhooks", rich_help_panel="As a client")


@webhooks.command("listen")
def listen(
    forward: Annotated[str | None, typer.Option(help="Forward each verified webhook to this URL.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="Only these types; by default every type.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free one.")] = 0,
    public_url: Annotated[
        str | None, typer.Option(help="The URL that leads here, if inferd can't call this machine directly.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(help="Verify with this whsec_… or whpk_…, and register no endpoint.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many verified webhooks.")] = None,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Receive webhooks on this machine: verify and print each, until Ctrl-C.

    Registers an endpoint and deletes it at the end, so inferd must be able to call this machine: `inferd serve` can.
    """
    from cli.webhooks.listener import Listening
    from cli.webhooks.listener import listen as run

    wanted = Listening(
        forward=forward,
        events=tuple(event or ()),
        port=port,
        public_url=public_url,
        secret=secret,
        count=count,
        as_json=output is Output.JSON,
    )
    raise typer.Exit(run(wanted, api_url=api_url, api_key=api_key))


@webhooks.command("deliveries")
def deliveries(
    of: Annotated[str, typer.Argument(help="An endpoint we_…, a job job_…, or one delivery dlv_…, with its log.")],
    status: Annotated[list[str] | None, typer.Option(help="pending, delivered, exhausted or skipped.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many, the newest.")] = 20,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """List the deliveries of an endpoint or a job, or show one with its log."""
    from cli.webhooks.deliveries import show_deliveries

    show_deliveries(of, status or [], limit, as_json=output is Output.JSON, api_url=api_url, api_key=api_key)


@webhooks.command("redeliver")
def redeliver(
    delivery: Annotated[str, typer.Argument(help="dlv_…")],
    timeout: Annotated[float, typer.Option(min=0, help="Wait so many seconds for its outcome.")] = 30.0,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Send a delivery again, now, under its own webhook-id."""
    from cli.webhooks.deliveries import send_again

    raise typer.Exit(send_again(delivery, timeout, api_url=api_url, api_key=api_key))


@webhooks.command("verify")
def verify(
    body: Annotated[Path, typer.Argument(help="A file with the exact bytes of the body; - reads them from stdin.")],
    secret: Annotated[str, typer.Option(help="whsec_…, or whpk_… for v1a.")],
    header: Annotated[list[str], typer.Option("--header", "-H", help="name: value; the three webhook-… ones.")],
    at_any_time: Annotated[
        bool, typer.Option("--at-any-time", help="Accept a signature that is older than 5 minutes.")
    ] = False,
) -> None:
    """Check a webhook's signature, and explain why it is not good."""
    from cli.webhooks.signature import check

    raise typer.Exit(check(body, secret, header, at_any_time=at_any_time))
