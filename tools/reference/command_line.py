"""docs/reference/cli.md, from the Typer application of local/app.py.

Not `typer utils docs`: it cuts the summary of each command at 45 characters and writes HTML entities into code.
"""

from collections.abc import Iterator
from typing import Any, Final

from typer.core import TyperGroup
from typer.main import get_command

from cli.exit_codes import ExitCode
from local.app import app
from tools.reference.page import Page, code, fenced, markdown, table

_INTRODUCTION: Final = """
# The command line

Results go to stdout and everything else to stderr.
"""
_EXITS: Final = {
    ExitCode.OK: "Success; for a job: it succeeded.",
    ExitCode.FAILED: "The job did not succeed, a check failed, or a server died.",
    ExitCode.USAGE: "An option or a setting is wrong, or the API rejected the request as invalid.",
    ExitCode.NOT_FOUND: (
        "There is no such job, tenant or key. For `inferd api` and `inferd worker`: the process could not start, "
        "because PostgreSQL did not respond or the port was taken."
    ),
    ExitCode.AUTH: "The API key is missing, wrong or revoked.",
    ExitCode.UNREACHABLE: "The API, or a store that the command needs, can't be reached.",
    ExitCode.TIMED_OUT: "The time of --timeout was over before the job ended.",
    ExitCode.INTERRUPTED: "Ended by Ctrl-C.",
}


def pages() -> Iterator[Page]:
    yield markdown("cli.md", "local/app.py", _blocks())


def _blocks() -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Exit codes"
    yield table(("Code", "Meaning"), [(code(str(int(each))), _EXITS[each]) for each in ExitCode])
    yield from _describe(get_command(app), "inferd", parent=None)


# Typer keeps its copy of Click private, so the commands and contexts below have no public type.
def _describe(command: Any, name: str, *, parent: Any) -> Iterator[str]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield f"## {code(context.command_path)}"
    if command.help:
        yield command.help
    yield fenced(" ".join((context.command_path, *command.collect_usage_pieces(context))))
    records = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    if records:
        yield table(("Argument or option", "Description"), [(code(head), text) for head, text in records])
    if isinstance(command, TyperGroup):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _describe(found, child, parent=context)
