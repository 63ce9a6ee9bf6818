"""A page has at most `limit` items, and says whether more follow."""

import pytest

from core.domain.paging import Page, page_of


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], Page((), False)),
        ([1], Page((10,), False)),
        ([1, 2], Page((10, 20), False)),
        ([1, 2, 3], Page((10, 20), True)),
    ],
)
def test_one_row_more_than_the_limit_means_more(rows: list[int], expected: Page[int]) -> None:
    assert page_of(rows, 2, lambda row: 10 * row) == expected
