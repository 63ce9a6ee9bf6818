"""`inferd run`: a client of the API."""

import sys
from typing import Annotated

import typer

from cli.commands.options import Output, OutputOption
from core.domain.job_state import Priority


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="As a client")(run)


def run(
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from stdin.")],
    model: Annotated[str, typer.Option("--model", "-m", help="provider/name, such as local/smollm2-135m.")],
    output: OutputOption = Output.TEXT,
    param: Annotated[
        list[str] | None, typer.Option(help="name=value, such as max_tokens=50 (JSON, or a text).")
    ] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="name=value, to find the job by.")] = None,
    priority: Annotated[Priority, typer.Option(help="Which jobs go first.")] = Priority.INTERACTIVE,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again answers with the same job.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Wait so many seconds at most.")] = None,
    api_url: Annotated[
        str | None, typer.Option(help="Default: INFERD_API_URL, else the running `inferd serve`.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="Default: INFERD_API_KEY, else that of `inferd serve`.")] = None,
) -> None:
    """Submit a job, show its states, print its answer."""
    from cli.run import Order, read_pairs, read_param
    from cli.run import run as submit

    params = {name: read_param(text) for name, text in read_pairs("--param", param or []).items()}
    order = Order(
        body={
            "model": model,
            "input": sys.stdin.read() if prompt == "-" else prompt,
            "params": params,
            "metadata": dict(read_pairs("--metadata", metadata or [])),
            "priority": priority.value,
        },
        idempotency_key=idempotency_key,
        timeout=timeout,
        as_json=output is Output.JSON,
    )
    raise typer.Exit(submit(order, api_url=api_url, api_key=api_key))
