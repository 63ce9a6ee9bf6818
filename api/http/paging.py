"""One shape for every list: a page, newest first, and the cursor of the next one."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from api.http.fields import HEX
from core.domain.errors import InvalidParameter
from core.domain.ids import InvalidId, parse
from core.domain.paging import Page

Id = TypeVar("Id")
Item = TypeVar("Item")


class PageQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100, description="Maximum number of items to return.", examples=[50])] = 20
    after: str | None = None

    def before(self, prefix: str, as_id: Callable[[UUID], Id]) -> Id | None:
        """The cursor: items older than this one. Raises InvalidParameter."""
        if self.after is None:
            return None
        try:
            return as_id(parse(prefix, self.after))
        except InvalidId:
            raise InvalidParameter("after: take it from the `next_cursor` of a page.", param="after") from None


def cursor(prefix: str) -> Any:
    """The field `after` of a list whose items have ids of this prefix."""
    return Field(
        default=None,
        description="Return items after this one: the `next_cursor` of the previous page.",
        examples=[f"{prefix}_{HEX}"],
        json_schema_extra={"pattern": f"^{prefix}_[0-9a-f]{{32}}$"},
    )


class PageView(TypedDict):
    """A page; each list adds its `data`."""

    object: Annotated[str, Field(description="Always `list`.", examples=["list"])]
    has_more: Annotated[bool, Field(description="Whether there are more items after this page.", examples=[False])]
    next_cursor: Annotated[
        str | None, Field(description="The `after` of the next page; null on the last one.", examples=[None])
    ]


def page_view(page: Page[Item], view: Callable[[Item], Any], cursor_of: Callable[[Item], str]) -> dict[str, Any]:
    """The page as it is sent."""
    return {
        "object": "list",
        "data": [view(each) for each in page.items],
        "has_more": page.has_more,
        "next_cursor": cursor_of(page.items[-1]) if page.has_more else None,
    }


def whole(data: Sequence[Any]) -> dict[str, Any]:
    """A list that has one page."""
    return {"object": "list", "data": list(data), "has_more": False, "next_cursor": None}
