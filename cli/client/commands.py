"""`inferd run` and `inferd jobs`: clients of the API."""

import sys
from typing import Annotated

import typer

from cli.options import ApiKeyOption, ApiUrlOption, Output, OutputOption
from core.domain.job_state import JobState, Priority

_PANEL = "As a client"
JobArgument = Annotated[str, typer.Argument(help="The job's id, job_….")]
TimeoutOption = Annotated[
    float | None,
    typer.Option(min=0.001, help="Maximum number of seconds to wait; the job continues. Default: no limit."),
]
jobs = typer.Typer(help="List, read, wait for, cancel and retry jobs.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=_PANEL)(run)
    app.add_typer(jobs, name="jobs", rich_help_panel=_PANEL)


def run(
    prompt: Annotated[str, typer.Argument(help="The prompt; - reads it from stdin.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model as provider/name, such as local/smollm2-135m.")
    ],
    output: OutputOption = Output.TEXT,
    param: Annotated[
        list[str] | None,
        typer.Option(help="A parameter of the model as name=value, such as max_tokens=50. May be repeated."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="name=value, stored with the job; `inferd jobs list` filters by it. May be repeated."),
    ] = None,
    priority: Annotated[Priority, typer.Option(help="Jobs of a higher priority start first.")] = Priority.INTERACTIVE,
    idempotency_key: Annotated[
        str | None, typer.Option(help="A second submit with the same key returns the first job.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the job ends, or print its id at once.")] = True,
    timeout: TimeoutOption = None,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Submit a job, show its states, and print its output."""
    from cli.client.run import Order, read_pairs, read_param
    from cli.client.run import run as submit

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
        wait=wait,
        as_json=output is Output.JSON,
    )
    raise typer.Exit(submit(order, api_url=api_url, api_key=api_key))


@jobs.command("list")
def list_jobs(
    status: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state. May be repeated.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only jobs of this model.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="Only jobs with this name=value. May be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of jobs.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only jobs older than this job_…; for the next page.")] = None,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """List jobs, newest first."""
    from cli.client.jobs import show_list
    from cli.client.run import read_pairs

    query = [("limit", str(limit)), *(("status", each.value) for each in status or [])]
    query += [(name, value) for name, value in (("model", model), ("after", after)) if value is not None]
    query += [(f"metadata[{name}]", value) for name, value in read_pairs("--metadata", metadata or []).items()]
    show_list(query, as_json=output is Output.JSON, api_url=api_url, api_key=api_key)


@jobs.command("get")
def get_job(
    job: JobArgument,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Print the output of a job, or its state while it has not ended. `-o json` prints the whole job."""
    from cli.client.jobs import show

    raise typer.Exit(show(job, as_json=output is Output.JSON, api_url=api_url, api_key=api_key))


@jobs.command("wait")
def wait_for_job(
    job: JobArgument,
    timeout: TimeoutOption = None,
    output: OutputOption = Output.TEXT,
    api_url: ApiUrlOption = None,
    api_key: ApiKeyOption = None,
) -> None:
    """Wait until a job ends, show its states, and print its output."""
    from cli.client.jobs import wait

    raise typer.Exit(wait(job, timeout, as_json=output is Output.JSON, api_url=api_url, api_key=api_key))


@jobs.command("cancel")
def cancel_job(
    job: JobArgument, output: OutputOption = Output.TEXT, api_url: ApiUrlOption = None, api_key: ApiKeyOption = None
) -> None:
    """Cancel a job. A job that has ended does not change."""
    from cli.client.jobs import change

    change(job, "cancel", as_json=output is Output.JSON, api_url=api_url, api_key=api_key)


@jobs.command("retry")
def retry_job(
    job: JobArgument, output: OutputOption = Output.TEXT, api_url: ApiUrlOption = None, api_key: ApiKeyOption = None
) -> None:
    """Queue a failed, cancelled or expired job again, under the same id."""
    from cli.client.jobs import change

    change(job, "retry", as_json=output is Output.JSON, api_url=api_url, api_key=api_key)
