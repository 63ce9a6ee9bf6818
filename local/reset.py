"""`inferd reset`: deletes what `inferd serve` keeps, after asking."""

import sys
from pathlib import Path

import typer

from cli.configuration import storeless_settings
from cli.exit_codes import CommandFailed, ExitCode
from cli.saved import root_of
from cli.terminal import progress
from local.embedded.reset import reset


def reset_data(data_dir: Path | None, *, yes: bool) -> None:
    """Raises EmbeddedError while an `inferd serve` runs on it."""
    data_dir = storeless_settings(data_dir).data_dir
    root = root_of(data_dir)
    if not root.exists():
        progress().print(f"There is nothing to delete in {data_dir}.", soft_wrap=True)
        return
    if not yes and not sys.stdin.isatty():
        raise CommandFailed(f"This deletes every job in {root}; say --yes to do it.", ExitCode.USAGE)
    if not yes and not typer.confirm(f"Delete every job, result and key in {root}?", err=True):
        raise CommandFailed("Nothing was deleted.")
    reset(data_dir)
    progress().print(f"Deleted {root}.", soft_wrap=True)
