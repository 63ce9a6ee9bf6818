"""A page of a list, newest first, for whatever can be listed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """`has_more` says that older items follow; the next page begins just before the last item of this one."""

    items: tuple[Item, ...]
    has_more: bool


def page_of(rows: Sequence[Row], limit: int, item: Callable[[Row], Item]) -> Page[Item]:
    """The page of at most `limit` items, from rows that were read with a limit of `limit + 1`."""
    return Page(tuple(item(row) for row in rows[:limit]), has_more=len(rows) > limit)
