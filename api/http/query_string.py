"""Reads a query string into a model, as strictly as a body: every name is known, and none is given twice.

A field that is a list takes its name repeated; one that is an object takes `name[key]=value`. Used by
api/http/admission.py.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar, get_origin

from pydantic import BaseModel

from core.domain.errors import InvalidParameter

Model = TypeVar("Model", bound=BaseModel)

_LONGEST_NAME: Final = 80
# As in JSON. Python would take underscores, spaces and zeros in front too.
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")
_NO_NUMBER: Final = "x"


def check_names(names: Iterable[str], model: type[BaseModel] | None) -> None:
    """Raises InvalidParameter for the first name that `model` does not have."""
    known = {} if model is None else {name: get_origin(field.annotation) for name, field in model.model_fields.items()}
    for name in names:
        field, bracket, _ = name.partition("[")
        if name not in known and not (bracket and known.get(field) is dict):
            shown = name[:_LONGEST_NAME]
            listed = ", ".join(f"{each}[key]" if kind is dict else each for each, kind in known.items())
            hint = f"there are {listed}" if known else "this operation takes none"
            raise InvalidParameter(f"{shown}: there is no such query parameter; {hint}.", param=shown)


def read_query(pairs: Sequence[tuple[str, str]], model: type[Model]) -> Model:
    """Raises InvalidParameter or ValidationError, which name the parameter."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        field, bracket, rest = name.partition("[")
        annotation = model.model_fields[field].annotation
        kind = get_origin(annotation)
        if kind is dict:
            _add_pair(found.setdefault(field, {}), name, rest if bracket else "", value)
        elif kind is list:
            found.setdefault(field, []).append(value)
        elif field in found:
            raise InvalidParameter(f"{field}: is given twice; send it once.", param=field)
        elif annotation in (int, float) and not _NUMBER.fullmatch(value):
            # Refused by the model, together with every other problem.
            found[field] = _NO_NUMBER
        else:
            found[field] = value
    return model.model_validate(found)


def _add_pair(pairs: dict[str, str], name: str, rest: str, value: str) -> None:
    shown, field = name[:_LONGEST_NAME], name.partition("[")[0]
    key = rest.removesuffix("]")
    if not key or key == rest:
        raise InvalidParameter(f"{shown}: write it as `{field}[key]=value`, with a key.", param=shown)
    if key in pairs:
        raise InvalidParameter(f"{shown}: is given twice; a key has one value.", param=shown)
    pairs[key] = value
