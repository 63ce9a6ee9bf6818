"""How a field of a response is described in the OpenAPI document. Used by every room's schemas."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import Field

# For examples.
TIME: Final = "2026-03-04T05:06:07.123456Z"
HEX: Final = "019ab3c4d5e67f8090a1b2c3d4e5f607"


def described(text: str, *examples: Any, values: Iterable[str] = ()) -> Any:
    """What the field is. `values` are those that it has now; it is no closed enum, because more may be added."""
    extra = {"x-extensible-enum": list(values)} if values else None
    return Field(description=text, examples=list(examples) or None, json_schema_extra=extra)  # type: ignore[arg-type]
