"""The output of `inferd demo`: a live table on a terminal, a line for each change elsewhere; at the end, the table."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.client.http import Job
from cli.client.progress import changes
from cli.terminal import progress, results
from local.demo.jobs import DemoJob
from local.demo.receiver import Received, Receiver

_COLOURS = {"succeeded": "green", "failed": "red", "running": "yellow"}
_ROOMY = 120


class Board:
    """The jobs as they were last seen, in the order of `wanted`."""

    def __init__(self, wanted: tuple[DemoJob, ...], receiver: Receiver) -> None:
        self._wanted = wanted
        self._receiver = receiver
        self._jobs: dict[str, Job] = {}
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        err = progress()
        if not err.is_terminal:
            yield
            return
        with Live(console=err, transient=True, refresh_per_second=8) as self._live:
            yield
        self._live = None

    def look(self, wanted: DemoJob, job: Job) -> None:
        """Shows the job as it is now."""
        lines = changes(self._jobs.get(wanted.about), job)
        self._jobs[wanted.about] = job
        if self._live is not None:
            self._live.update(self.table())
            return
        for line in lines:
            progress().print(f"{job.id}  {job.model}: {line}", soft_wrap=True)

    def problems(self) -> list[str]:
        """Returns what is not as expected."""
        missing = [f"{wanted.about} was not accepted" for wanted in self._wanted if wanted.about not in self._jobs]
        return missing + [
            problem
            for wanted in self._wanted
            if (job := self._jobs.get(wanted.about)) is not None
            for problem in wanted.problems(job, self._receiver.of(job.id))
        ]

    def table(self) -> Table:
        table = Table(box=None, pad_edge=False, collapse_padding=results().width < _ROOMY, header_style="bold")
        for name in ("id", "model", "status"):
            table.add_column(name, no_wrap=True)
        for name in ("attempts", "wait ms", "run ms", "tokens"):
            table.add_column(name, justify="right")
        # The one that gives way on a narrow terminal.
        table.add_column("output")
        table.add_column("webhook", no_wrap=True)
        for job in (self._jobs[wanted.about] for wanted in self._wanted if wanted.about in self._jobs):
            table.add_row(*_cells(job, self._receiver.of(job.id)))
        return table


def _cells(job: Job, webhook: Received | None) -> tuple[str | Text, ...]:
    return (
        # All of it would leave no room on most terminals; the end is what differs between jobs of one moment.
        f"{job.id[:8]}…{job.id[-6:]}",
        job.model,
        Text(job.status, style=_COLOURS.get(job.status, "")),
        str(job.attempts_used),
        _number(job.queue_ms),
        _number(job.run_ms),
        _number(job.usage.output_tokens if job.usage else None),
        Text(_first_line(job), no_wrap=True, overflow="ellipsis"),
        "verified" if webhook is not None else "waiting" if job.ended else "",
    )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _first_line(job: Job) -> str:
    if job.output is not None:
        return next(iter(job.output.text.strip().splitlines()), "")
    return job.error.code if job.error else ""
