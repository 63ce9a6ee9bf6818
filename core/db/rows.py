"""Rows between Python and PostgreSQL, by name: the fields of a dataclass (or a NamedTuple) are the columns.

Used by core/db/statements.py for what goes in, and by the stores and queries of core for what comes out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from operator import attrgetter, itemgetter
from types import NoneType, UnionType
from typing import Final, NewType, Protocol, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from typing_extensions import TypeVar

Row = TypeVar("Row", default=object)

_POSTGRES_TYPES: Final[Mapping[object, str]] = {
    UUID: "uuid",
    str: "text",
    bytes: "bytea",
    bool: "bool",
    int: "int",
    float: "float8",
    datetime: "timestamptz",
}


class Record(Protocol):
    """What has values by name: a driver's record, or a session's row as a mapping."""

    def __getitem__(self, name: str, /) -> object: ...


@cache
def columns(rows: Callable[..., object]) -> Mapping[str, str]:
    """The PostgreSQL type of each field of a dataclass. Raises TypeError for a field that no column can hold."""
    return {name: _postgres_type(name, kind) for name, kind in _kinds(rows).items()}


def names(row: Callable[..., object]) -> tuple[str, ...]:
    """The fields of a dataclass, in order, those that it inherits first."""
    return tuple(_kinds(row))


def arrays(rows: Callable[..., Row], values: Sequence[Row]) -> list[Sequence[object]]:
    """One array for each field of `rows`, in the order of `columns`."""
    wanted = names(rows)
    if not values:
        return [()] * len(wanted)
    if len(wanted) == 1:
        return [[getattr(value, wanted[0]) for value in values]]
    return list(zip(*map(attrgetter(*wanted), values), strict=True))


def from_record(row: Callable[..., Row], record: Record, **given: object) -> Row:
    """A dataclass: its fields are the record's columns of these names, except those that are `given`.

    Text becomes the field's StrEnum and an array its tuple. Raises KeyError where the record lacks a column.
    """
    reader = _reader(row, tuple(given)) if given else _reader(row)
    values = list(reader.get(record))
    for index, convert in reader.converters:
        if values[index] is not None:
            values[index] = convert(values[index])
    if reader.by_position:
        return row(*values)
    return row(**dict(zip(reader.names, values, strict=True)), **given)


def from_json(row: Callable[..., Row], found: Mapping[str, object]) -> Row:
    """As `from_record`, from a JSON object, where ids and times are text."""
    parsed = dict(found)
    for name, parse in _parsers(row):
        if (value := parsed[name]) is not None:
            parsed[name] = parse(value)
    return from_record(row, parsed)


def combined(row: Callable[..., Row], *parts: object, **given: object) -> Row:
    """A dataclass: each field is `given`, or that of the first part that has one of this name, or its default."""
    values = dict(given)
    for index, names in _shares(row, tuple(map(type, parts)), frozenset(given)):
        values.update((name, getattr(parts[index], name)) for name in names)
    return row(**values)


@dataclass(frozen=True, slots=True)
class _Reader:
    """How the records of one statement become values of one dataclass. Fields follow the dataclass's order."""

    names: tuple[str, ...]
    get: Callable[[Record], tuple[object, ...]]
    converters: tuple[tuple[int, Callable[[object], object]], ...]
    by_position: bool


@cache
def _reader(row: Callable[..., object], given: tuple[str, ...] = ()) -> _Reader:
    kinds = {name: kind for name, kind in _kinds(row).items() if name not in given}
    converters = ((index, _converter(kind)) for index, kind in enumerate(kinds.values()))
    get = itemgetter(*kinds)
    return _Reader(
        names=tuple(kinds),
        get=get if len(kinds) > 1 else lambda record: (get(record),),
        converters=tuple((index, convert) for index, convert in converters if convert is not None),
        by_position=not given and getattr(row, "__match_args__", ()) == tuple(kinds),
    )


def _converter(kind: object) -> Callable[[object], object] | None:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        members: dict[object, object] = {member.value: member for member in kind}
        return members.__getitem__
    return _as_tuple if get_origin(kind) is tuple else None


def _as_tuple(array: object) -> tuple[object, ...]:
    return tuple(cast(list[object], array))


@cache
def _parsers(row: Callable[..., object]) -> tuple[tuple[str, Callable[[object], object]], ...]:
    """For the fields that JSON has as text only."""
    parsers = {UUID: lambda value: UUID(str(value)), datetime: lambda value: datetime.fromisoformat(str(value))}
    return tuple((name, parsers[kind]) for name, kind in _kinds(row).items() if kind in (UUID, datetime))


@cache
def _shares(
    row: Callable[..., object], parts: tuple[type, ...], given: frozenset[str]
) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Which fields come from which part."""
    left, shares = [name for name in _kinds(row) if name not in given], []
    for index, part in enumerate(parts):
        held = _kinds(part)
        shares.append((index, tuple(name for name in left if name in held)))
        left = [name for name in left if name not in held]
    return tuple(shares)


@cache
def _kinds(row: Callable[..., object]) -> Mapping[str, object]:
    """The type of each field, without None and without the names that NewType gives it."""
    return {name: _bare(hint) for name, hint in get_type_hints(row).items()}


def _bare(hint: object) -> object:
    if isinstance(hint, NewType):
        return _bare(hint.__supertype__)
    if get_origin(hint) in (Union, UnionType):
        (hint, *others) = (each for each in get_args(hint) if each is not NoneType)
        return Union if others else _bare(hint)
    return hint


def _postgres_type(name: str, kind: object) -> str:
    text = str if isinstance(kind, type) and issubclass(kind, StrEnum) else kind
    if text not in _POSTGRES_TYPES:
        raise TypeError(f"{name}: PostgreSQL has no array of {kind}")
    return _POSTGRES_TYPES[text]
