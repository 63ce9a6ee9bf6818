"""The generated pages are what the code says now, are made the same way twice, and say that they are generated."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.repository import read
from tools import reference
from tools.reference import page

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


@pytest.fixture(scope="module")
def made() -> list[page.Page]:
    """Every page as it is made now; one of them asks a process of its own, so they are made once."""
    return list(reference.all_pages())


def test_every_page_is_made(made: list[page.Page]) -> None:
    assert {each.path for each in made} == PAGES


def test_nothing_is_stale(made: list[page.Page]) -> None:
    """Which also says that pages are made the same on every machine."""
    assert not [f"{each.path} is stale; run `make docs`" for each in made if not each.is_current()]


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


def test_check_names_what_is_stale_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (page, reference):
        monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    monkeypatch.setattr(reference, "_MAKERS", (lambda: iter([page.markdown("some.md", "somewhere", ["# Title"])]),))
    assert reference.run(check=True) == 2
    (tmp_path / "docs").mkdir()
    assert reference.run(check=True) == 1
    assert "docs/reference/some.md is stale" in capsys.readouterr().err
    assert reference.run(check=False) == 0
    assert reference.run(check=True) == 0


def test_the_openapi_document_has_no_loose_end() -> None:
    document = json.loads(read("docs/reference/openapi.json"))
    text = json.dumps(document)
    names = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= set(document["components"]["schemas"])
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/models", "/v1/webhook_secret"} <= set(document["paths"])


def test_every_field_and_parameter_has_a_description_and_an_example() -> None:
    document = json.loads(read("docs/reference/openapi.json"))
    schemas = document["components"]["schemas"]
    fields = list(_fields(document))
    assert len(fields) > 300
    assert not [name for name, field in fields if not field.get("description")]
    # A shape's example is in its own fields.
    assert not [name for name, field in fields if not ({"example", "examples"} & set(field) or _shape(field, schemas))]


def _fields(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema and every parameter, with where it is."""
    match node:
        case {"properties": dict(properties), **rest}:
            # In a member of `anyOf`, properties repeat those beside it.
            if "type" in rest:
                yield from ((f"{place}/{name}", field) for name, field in properties.items())
        case {"name": str(name), "in": str(), **_rest}:
            yield f"{place}/{name}", node
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, each in inside:
        if key not in ("example", "examples"):
            yield from _fields(each, f"{place}/{key}")


def _shape(field: Mapping[str, Any], schemas: Mapping[str, Any]) -> bool:
    """Whether the field is a shape with fields of its own, or a list of them."""
    options = [field, field.get("items", {}), *field.get("anyOf", ())]
    names = [str(each["$ref"]).rpartition("/")[2] for each in options if "$ref" in each]
    return any("properties" in schemas[name] for name in names)


def test_what_may_get_more_values_is_no_closed_enum_in_a_response_or_an_event() -> None:
    schemas = json.loads(read("docs/reference/openapi.json"))["components"]["schemas"]
    answered = {name: schema for name, schema in schemas.items() if name.endswith(("View", "Event", "EventData"))}
    assert len(answered) > 20
    closed = [
        f"{name}.{field}"
        for name, schema in answered.items()
        for field, described in schema["properties"].items()
        for each in (described, *described.get("anyOf", ()))
        if "enum" in each or "enum" in schemas.get(str(each.get("$ref")).rpartition("/")[2], {})
    ]
    assert not closed
