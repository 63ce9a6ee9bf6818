"""What the documents tell a reader to type exists, and the README says things in the agreed order."""

import ast
import json
import re

import pytest

from local.demo.jobs import JOBS
from tests.architecture.command_line import commands_in, problem_with
from tests.architecture.repository import documents, files, make_targets, read

_FENCE = re.compile(r"(?ms)^```(\w*)[^\n]*\n(.*?)^```$")
_INLINE = re.compile(r"`([^`\n]+)`")


def _blocks(path: str, *languages: str) -> list[str]:
    return [body for language, body in _FENCE.findall(read(path)) if language in languages]


def _typed(path: str) -> list[str]:
    """Lines that a reader would type: those of shell blocks, and inline code."""
    lines = [
        line for block in _blocks(path, "sh", "bash", "console") for line in block.replace("\\\n", " ").splitlines()
    ]
    prompts = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")] or lines
    return [*prompts, *_INLINE.findall(_FENCE.sub("", read(path)))]


def test_make_targets_exist() -> None:
    named = {
        (path, target)
        for path in documents()
        for line in _typed(path)
        for target in re.findall(r"(?:^|&& )make ([a-z]+)\b", line)
    }
    assert len(named) > 4
    assert not {(path, target) for path, target in named if target not in make_targets()}


def test_commands_exist() -> None:
    named = [
        (path, command)
        for path in documents()
        if path != "docs/reference/cli.md"
        for line in _typed(path)
        for command in commands_in(line)
    ]
    assert len(named) > 10
    problems = {(path, problem) for path, command in named if (problem := problem_with(command)) is not None}
    assert not problems


def test_commands_in_messages_exist() -> None:
    """What the settings say in .env.example and its page."""
    assert not [problem for command in commands_in(read(".env.example")) if (problem := problem_with(command))]


@pytest.mark.parametrize(
    "command", ["inferd nothing", "inferd keys create --nothing x", "inferd migrate one two three"]
)
def test_a_wrong_command_would_be_found(command: str) -> None:
    assert problem_with(command) is not None


def test_the_order_of_the_readme() -> None:
    headings = re.findall(r"(?m)^## (.+)$", _FENCE.sub("", read("README.md")))
    assert headings == [
        "Two commands",
        "Submit a job",
        "Receive a webhook",
        "How it works",
        "In production",
        "Not for you if",
        "Read on",
    ]


def test_python_blocks_compile() -> None:
    blocks = [(path, block) for path in documents() for block in _blocks(path, "python")]
    assert blocks
    for _, block in blocks:
        ast.parse(block)


def test_json_blocks_parse() -> None:
    blocks = [block for path in documents() for block in _blocks(path, "json")]
    assert blocks
    assert all(json.loads(block) is not None for block in blocks)


def test_the_transcript_of_the_demo_is_what_it_prints() -> None:
    (transcript,) = _blocks("README.md", "console")
    steps = [line.rstrip("…") for line in transcript.splitlines() if line.endswith("…")]
    assert len(steps) > 2
    source = "".join(read(path) for path in files() if path.startswith("local/"))
    assert not [step for step in steps if f'"{step}"' not in source]
    rows = [line.split() for line in transcript.splitlines() if line.startswith("job_")]
    assert [row[1:4] for row in rows] == [[job.model, job.status, str(job.attempts)] for job in JOBS]


def test_the_receiver_takes_ten_lines_and_the_picture_twelve() -> None:
    text = read("README.md")
    receiver = re.search(r"(?ms)^## Receive a webhook$.*?^```python\n(.*?)^```$", text)
    picture = re.search(r"(?ms)^## How it works$.*?^```(?:text)?\n(.*?)^```$", text)
    assert receiver is not None
    assert picture is not None
    assert len([line for line in receiver[1].splitlines() if line.strip()]) <= 10
    assert len(picture[1].splitlines()) <= 12


def test_nothing_is_left_to_be_filled_in() -> None:
    assert not [path for path in documents() if re.search(r"@@|TODO|FIXME|TBD", read(path))]
