"""Rows by name: a dataclass's fields are the columns, in whatever order."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import pytest

from core.db.rows import arrays, columns, combined, from_json, from_record
from core.domain.ids import JobId

ID = UUID(int=7)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Thing:
    id: JobId
    colour: Colour
    at: datetime | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    id: JobId
    colour: Colour | None
    size: float


def test_a_field_names_its_column_and_its_type() -> None:
    assert columns(Part) == {"id": "uuid", "colour": "text", "size": "float8"}
    assert arrays(Part, [Part(JobId(ID), Colour.RED, 1.0), Part(JobId(ID), None, 2.0)]) == [
        (ID, ID),
        ("red", None),
        (1.0, 2.0),
    ]
    assert arrays(Part, []) == [(), (), ()]


def test_a_field_that_no_array_can_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="tags"):
        columns(Thing)


def test_a_record_is_read_by_name() -> None:
    record = {"tags": ["a"], "at": None, "colour": "red", "id": ID, "more": 1}

    assert from_record(Thing, record) == Thing(JobId(ID), Colour.RED, None, ("a",))
    assert from_record(Thing, record, tags=("b",)).tags == ("b",)
    with pytest.raises(KeyError, match="colour"):
        from_record(Thing, {"id": ID, "at": None, "tags": []})
    with pytest.raises(KeyError):
        from_record(Thing, record | {"colour": "blue"})


def test_json_has_ids_and_times_as_text() -> None:
    found = {"id": str(ID), "colour": "red", "at": "2026-01-02T00:00:00+00:00", "tags": []}

    assert from_json(Thing, found) == Thing(JobId(ID), Colour.RED, datetime(2026, 1, 2, tzinfo=UTC))
    assert from_json(Thing, found | {"at": None}).at is None


def test_parts_are_combined_the_first_before_the_second() -> None:
    part = Part(JobId(ID), Colour.RED, 1.0)

    assert combined(Thing, part, at=None) == Thing(JobId(ID), Colour.RED, None)
    assert combined(Part, Part(JobId(ID), None, 2.0), part).size == 2.0
