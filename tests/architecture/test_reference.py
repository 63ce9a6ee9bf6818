"""The generated pages are what the code says now, are made the same way twice, and say that they are generated."""

import json
from pathlib import Path

import pytest

from cli import reference
from cli.reference import page
from tests.architecture.repository import read

PAGES = {
    ".env.example",
    "docs/reference/api.md",
    "docs/reference/cli.md",
    "docs/reference/errors.md",
    "docs/reference/metrics.md",
    "docs/reference/openapi.json",
    "docs/reference/settings.md",
    "docs/reference/state-machine.md",
    "docs/reference/webhooks.md",
}


def test_nothing_is_stale(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.run(check=True) == 0, capsys.readouterr().err


def test_every_page_is_made_and_is_made_the_same_again() -> None:
    first = list(reference.all_pages())
    assert {each.path for each in first} == PAGES
    assert first == list(reference.all_pages())


def test_a_page_says_in_its_first_line_that_it_is_generated() -> None:
    for path in PAGES:
        assert "enerated" in read(path).partition("\n")[0], path


def test_a_changed_page_is_stale_until_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "REPOSITORY", tmp_path)
    made = page.markdown("some.md", "somewhere", ["# Title"])
    assert not made.is_current()
    made.write()
    assert made.is_current()
    assert not page.Page(made.path, made.text + "more").is_current()


def test_the_openapi_document_has_no_loose_end() -> None:
    document = json.loads(read("docs/reference/openapi.json"))
    text = json.dumps(document)
    names = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= set(document["components"]["schemas"])
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/models", "/v1/webhook_secret"} <= set(document["paths"])
