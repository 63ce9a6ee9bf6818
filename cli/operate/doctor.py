"""`inferd doctor`: checks everything that inferd needs, and reports what is wrong and how to fix it.

The exit code is 1 when a check fails; a warning is not a failure. It writes only one key to Redis, and deletes it.
"""

import asyncio
import json

from rich.text import Text

from cli.command_name import as_typed
from cli.configuration import operator_settings
from cli.exit_codes import ExitCode
from cli.operate.checks.finding import Finding, Level
from cli.operate.checks.providers import check_providers
from cli.operate.checks.settings import check_settings
from cli.operate.checks.stores import check_database, check_redis
from cli.terminal import progress, results
from core.settings import Settings, SettingsError

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor(*, as_json: bool) -> ExitCode:
    """Reports every problem of the set-up instead of raising it."""
    try:
        settings = operator_settings()
    except SettingsError as error:
        *problems, hint = str(error).splitlines()
        findings = [Finding("settings", Level.FAIL, problem) for problem in problems]
        progress().print(as_typed(hint), soft_wrap=True)
    else:
        findings = [*check_settings(settings), *asyncio.run(_look(settings))]
    if as_json:
        print(json.dumps([{"name": each.name, "level": each.level, "message": each.message} for each in findings]))
    else:
        _print(findings)
    return ExitCode.FAILED if any(each.level is Level.FAIL for each in findings) else ExitCode.OK


async def _look(settings: Settings) -> list[Finding]:
    found = await asyncio.gather(check_database(settings), check_redis(settings), check_providers(settings))
    return [finding for each in found for finding in each]


def _print(findings: list[Finding]) -> None:
    out = results()
    for each in findings:
        line = Text.assemble((f"{each.level:<5}", _COLOURS[each.level]), f" {each.name:<20} {as_typed(each.message)}")
        out.print(line, soft_wrap=True)
