"""A job can be followed through nine files: each says where it came from and where it goes, and the chain closes."""

import re

from tests.architecture.repository import files, modules, read

_STOP = re.compile(r"Stop (\d) of 9 · from (.+?) · to (.+)")
# The adapters are several; what calls them knows only their shape.
_ADAPTERS = 6
_DOORS = {"core/providers/port.py": _ADAPTERS}
STOPS = {
    match: module.path
    for module in modules()
    if (match := _STOP.fullmatch(module.docstring.partition("\n")[0])) is not None
}


def _paths(number: int) -> set[str]:
    return {path for match, path in STOPS.items() if int(match[1]) == number}


def test_every_stop_is_there_and_only_the_adapters_share_one() -> None:
    assert {int(match[1]) for match in STOPS} == set(range(1, 10))
    assert all(len(_paths(number)) == 1 for number in range(1, 10) if number != _ADAPTERS)
    assert all(path.startswith("core/providers/") for path in _paths(_ADAPTERS))


def test_a_stop_says_so_in_its_first_line() -> None:
    named = {
        path
        for path in files()
        if path.endswith(".py") and not path.startswith("tests/") and re.search(r"Stop \d of 9", read(path))
    }
    assert named == set(STOPS.values())


def test_each_stop_follows_from_the_one_before() -> None:
    for match, path in STOPS.items():
        number, start, end = int(match[1]), match[2], match[3]
        # An adapter answers whoever called it, so the stop after it is reached from the stop before it.
        before = _paths(number - 2 if number - 1 == _ADAPTERS else number - 1)
        after = _paths(number + 1) | {door for door, leads_to in _DOORS.items() if leads_to == number + 1}
        assert start in (before or {"the client"}), path
        assert end in (after or {"the receiver"}), path


def test_every_adapter_is_a_sixth_stop() -> None:
    adapters = {module.path for module in modules("core/providers") if "async def infer(" in module.text}
    adapters = {path for path in adapters if path not in _DOORS}
    assert adapters <= _paths(_ADAPTERS)


def test_the_walkthrough_visits_the_stops_in_order() -> None:
    headings = re.findall(r"(?m)^## (\d)\. `(.+?)`", read("docs/walkthrough.md"))
    assert [int(number) for number, _ in headings] == list(range(1, 10))
    for number, path in headings:
        assert path in _paths(int(number)) or _DOORS.get(path) == int(number)
