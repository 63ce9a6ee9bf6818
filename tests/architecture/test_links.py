"""Every relative link of a document leads to a file that is there, and to a heading that is in it."""

import re
from pathlib import PurePosixPath

from tests.architecture.repository import ROOT, documents, files, read

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(?ms)^```.*?^```$")


def _anchors(path: str) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.+)$", _FENCE.sub("", read(path)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _problem(document: str, target: str) -> str | None:
    name, _, anchor = target.partition("#")
    path = (PurePosixPath(document).parent / name).as_posix() if name else document
    resolved = (ROOT / path).resolve()
    if not resolved.is_relative_to(ROOT) or not resolved.exists():
        return f"{document}: no file {target}"
    if anchor and anchor not in _anchors(resolved.relative_to(ROOT).as_posix()):
        return f"{document}: no heading {target}"
    return None


def test_links_lead_somewhere() -> None:
    problems = [
        problem
        for document in documents()
        for target in _LINK.findall(_FENCE.sub("", read(document)))
        if "://" not in target and not target.startswith("mailto:")
        if (problem := _problem(document, target)) is not None
    ]
    assert not problems


def test_files_named_in_the_documents_are_there() -> None:
    named = re.compile(r"`((?:api|cli|core|docs|migrations|requirements|tests|worker)/[\w./-]+)`")
    missing = {
        f"{document}: {path}"
        for document in documents()
        if not document.startswith("docs/reference/")
        for path in named.findall(read(document))
        if not any(each == path or each.startswith(f"{path.rstrip('/')}/") for each in files())
    }
    assert not missing


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, waiting = set[str](), ["README.md"]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        for target in _LINK.findall(_FENCE.sub("", read(document))):
            path = (ROOT / PurePosixPath(document).parent / target.partition("#")[0]).resolve()
            found = path.relative_to(ROOT).as_posix() if "://" not in target and path.is_relative_to(ROOT) else ""
            if found.endswith(".md") and found in files() and found not in reached:
                waiting.append(found)
    assert set(documents()) == reached
