"""Whether a command that a document, an image or the Makefile names is one that `inferd` has."""

import re
import shlex
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from local.app import app

_COMMAND = re.compile(r"(?:^|[\s`\"'(/])inferd((?:[ ]+[^\s`|;&>)#]+)+)")


def problem_with(command: str) -> str | None:
    """None for a command line such as `inferd keys create --tenant me` that Typer would take; else what is wrong."""
    words = shlex.split(command.replace("…", "X"))[1:]
    node: Any = get_command(app)
    context = node.make_context("inferd", [], resilient_parsing=True)
    while words and isinstance(node, TyperGroup) and not words[0].startswith("-"):
        name = words.pop(0)
        found = node.get_command(context, name)
        if found is None:
            return f"{command}: there is no command {name}"
        node = found
        context = node.make_context(name, [], parent=context, resilient_parsing=True)
    params = node.get_params(context)
    options = {name: param for param in params for name in (*param.opts, *param.secondary_opts) if name.startswith("-")}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in options]
    if unknown:
        return f"{command}: there is no option {unknown[0]}"
    if isinstance(node, TyperGroup) and words and not words[0].startswith("-"):
        return f"{command}: names no command"
    return _surplus(command, words, options, sum(1 for param in params if param.param_type_name == "argument"))


def _surplus(command: str, words: list[str], options: dict[str, Any], arguments: int) -> str | None:
    free = 0
    waiting = iter(words)
    for word in waiting:
        if not word.startswith("-"):
            free += 1
        elif "=" not in word and not getattr(options[word], "is_flag", False):
            next(waiting, None)
    return f"{command}: takes {arguments} arguments, not {free}" if free > arguments else None


def commands_in(text: str) -> list[str]:
    """Every `inferd …` of a text, without what a shell makes of the rest of the line."""
    return [f"inferd{match[1]}" for match in _COMMAND.finditer(text)]
