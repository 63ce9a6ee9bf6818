"""Every decision is on one page and names a check that exists."""

import re
from pathlib import PurePosixPath

from tests.architecture.repository import contracts, files, make_targets, names_a_test, read

ADRS = [path for path in files() if re.fullmatch(r"docs/adr/\d{4}-[a-z0-9-]+\.md", path)]
_HEADINGS = ["## Context", "## Decision", "## Consequences"]
_CHECK = re.compile(r"`([^`]+)`")
_PAGE_LINES = 60


def _checks(text: str) -> list[str]:
    return _CHECK.findall(text.partition("Enforced by:")[2])


def _exists(check: str) -> bool:
    kind, _, name = check.partition(" ")
    match kind:
        case "make":
            return name in make_targets()
        case "contract":
            return name in contracts()
        case _:
            return names_a_test(check)


def test_they_are_numbered_without_a_gap() -> None:
    numbers = [int(PurePosixPath(path).name[:4]) for path in ADRS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 11


def test_each_has_its_parts_on_one_page() -> None:
    for path in ADRS:
        text = read(path)
        assert text.startswith(f"# {int(PurePosixPath(path).name[:4])}. "), path
        assert [line for line in text.splitlines() if line.startswith("## ")] == _HEADINGS, path
        assert len(text.splitlines()) <= _PAGE_LINES, path


def test_each_names_a_check_that_exists() -> None:
    for path in ADRS:
        checks = _checks(read(path))
        assert checks, f"{path} says `Enforced by:` and names nothing"
        assert not [check for check in checks if not _exists(check)], path


def test_the_index_lists_them_all() -> None:
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", read("docs/adr/README.md"))
    assert listed == [PurePosixPath(path).name for path in ADRS]


def test_what_the_code_says_of_them_is_there() -> None:
    cited = {
        match
        for path in files()
        if path.endswith((".py", ".toml", ".sql", ".md", ".yml"))
        for match in re.findall(r"docs/adr/(\d{4})", read(path))
    }
    assert cited <= {PurePosixPath(path).name[:4] for path in ADRS}
