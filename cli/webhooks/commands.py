"""`inferd webhooks`: manage endpoints, receive events on this machine, list and resend deliveries, verify signatures.

The signatures of the commands; the modules that do the work are imported on use. Registered by cli/app.py.
"""

from pathlib import Path
from typing import Annotated

import typer

from cli.options import ApiKeyOption, ApiUrlOption, Output, OutputOption
from cli.webhooks.endpoint_commands import endpoints

webhooks = typer.Typer(
    help="Webhooks: manage endpoints, receive events on this machine, list and resend deliveries, verify signatures.",
    no_args_is_help=True,
)
webhooks.add_typer(endpoints, name="endpoints")


def register(app: typer.Typer) -> None:
    app.add_typer(webhooks, name="webhooks", rich_help_panel="As a client")


@webhooks.command("listen")
def listen(
    forward: Annotated[str | None, typer.Option(help="Forward each verified webhook to this URL.")] = None,
    event: Annotated[
        list[str] | None, typer.Option(help="Receive only events of this type; default: every type. May be repeated.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 means any free port.")] = 0,
    public_url: Annotated[
        str | None, typer.Option(help="The public URL that forwards to this machine, if inferd can't call it directly.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(help="Verify with this secret (whsec_… or whpk_…) instead of registering an endpoint.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Exit after this number of verified webhooks. Default: no limit.")
    ] = None,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Receive webhooks on this machine: verify and print each, until Ctrl-C.

    Registers an endpoint and deletes it on exit. inferd must be able to call this machine: `inferd serve` can.
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
    of: Annotated[str, typer.Argument(help="The id of an endpoint (we_…), a job (job_…) or one delivery (dlv_…).")],
    status: Annotated[
        list[str] | None,
        typer.Option(help="Only deliveries in this state: pending, delivered, exhausted or skipped. May be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of deliveries.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only deliveries older than this dlv_…; for the next page.")] = None,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """List the deliveries of an endpoint or a job, newest first, or show one with the log of its attempts."""
    from cli.webhooks.deliveries import show_deliveries

    show_deliveries(of, status or [], limit, after, as_json=output is Output.JSON, api_url=api_url, api_key=api_key)


@webhooks.command("redeliver")
def redeliver(
    delivery: Annotated[str, typer.Argument(help="The delivery's id, dlv_….")],
    timeout: Annotated[float, typer.Option(min=0, help="Maximum number of seconds to wait for the outcome.")] = 30.0,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Send a delivery again now, with the same webhook-id, and wait for the outcome."""
    from cli.webhooks.deliveries import send_again

    raise typer.Exit(send_again(delivery, timeout, api_url=api_url, api_key=api_key))


@webhooks.command("verify")
def verify(
    body: Annotated[Path, typer.Argument(help="A file with the exact bytes of the request body; - reads stdin.")],
    secret: Annotated[str, typer.Option(help="The secret: whsec_…, or whpk_… for v1a.")],
    header: Annotated[
        list[str],
        typer.Option(
            "--header",
            "-H",
            help="A request header as 'name: value'. Required: webhook-id, webhook-timestamp, webhook-signature.",
        ),
    ],
    at_any_time: Annotated[
        bool, typer.Option("--at-any-time", help="Accept a signature that is older than 5 minutes.")
    ] = False,
) -> None:
    """Verify a webhook's signature; if it is not valid, say why."""
    from cli.webhooks.signature import check

    raise typer.Exit(check(body, secret, header, at_any_time=at_any_time))
