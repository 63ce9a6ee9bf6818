"""`inferd demo`: real jobs on real servers and a real model, from nothing, in a temporary folder of its own.

Guarantees: the data and the settings of an `inferd serve` are neither read nor changed; jobs are submitted and read
through the REST API only; no process is left and the folder is deleted; the exit code is 0 only if every job and its
webhook ended as local/demo/jobs.py says.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cli.client.http import ApiClient
from cli.command_name import command_name
from cli.configuration import storeless_settings
from cli.exit_codes import CommandFailed, ExitCode
from cli.signals import run_until_stopped
from cli.terminal import progress, results
from core.settings import PREFIX
from local.demo.board import Board
from local.demo.jobs import JOBS, DemoJob
from local.demo.receiver import Receiver, run_receiver
from local.embedded.privileges import is_root
from local.embedded.reset import reset
from local.plan import Plan
from local.processes import free_port
from local.stack import Stack, run_stack

_JOBS_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.3
_HOST: Final = "127.0.0.1"


def demo() -> ExitCode:
    """Raises CommandFailed with every expectation that did not hold."""
    began = time.monotonic()
    _forget_settings()
    with _temporary_folder() as folder:
        problems = run_until_stopped(_demo(folder / "data"), lambda: progress().print("\nStopping…"))
    if problems is None:
        return ExitCode.INTERRUPTED
    if problems:
        raise CommandFailed("the demo did not end as expected:\n" + "\n".join(f"  {each}" for each in problems))
    results().print(
        f"\n{len(JOBS)} jobs, {len(JOBS)} verified webhooks, {time.monotonic() - began:.0f} s; everything is stopped "
        f"and deleted.\nNext: `{command_name()} serve` keeps the same running.",
        soft_wrap=True,
    )
    return ExitCode.OK


def _forget_settings() -> None:
    """Removes the settings of a real system from the environment: the demo is the same everywhere."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        del os.environ[name]


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """It is the working directory meanwhile, so that no .env is read."""
    home = Path.cwd()
    folder = Path(tempfile.mkdtemp(prefix="inferd-demo-")).resolve()
    if is_root():
        # PostgreSQL's account must get through; the data itself stays closed.
        folder.chmod(0o755)
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(home)
        reset(folder / "data")
        shutil.rmtree(folder)


async def _demo(data_dir: Path) -> list[str]:
    err = progress()
    plan = Plan(
        settings=storeless_settings(data_dir),
        environment=dict(os.environ),
        working_folder=Path.cwd(),
        host=_HOST,
        port=free_port(_HOST),
    )
    async with run_stack(plan, lambda step: err.print(f"{step}…")) as stack:
        about = ", ".join(f"{name} {version}" for name, version in stack.servers.versions.items())
        err.print(f"The API is {stack.api_url} ({about}).\n", soft_wrap=True)
        return await stack.while_alive(_run_jobs(stack))


async def _run_jobs(stack: Stack) -> list[str]:
    """Submits all jobs, follows them, and returns what is not as expected."""
    async with ApiClient(stack.api_url, stack.api_key) as api, run_receiver(await api.webhook_secret()) as receiver:
        board = Board(JOBS, receiver)
        with board.shown(), suppress(TimeoutError):
            # What is missing then is what the problems say.
            async with asyncio.timeout(_JOBS_SECONDS):
                await asyncio.gather(*(_run_job(api, receiver, job, board) for job in JOBS))
        results().print(board.table())
        return board.problems()


async def _run_job(api: ApiClient, receiver: Receiver, wanted: DemoJob, board: Board) -> None:
    job = await api.submit(wanted.body(receiver.url))
    board.look(wanted, job)
    while not job.ended:
        job = await api.get(job.id, wait=_POLL_SECONDS)
        board.look(wanted, job)
    await receiver.wait_for(job.id)
    board.look(wanted, job)
