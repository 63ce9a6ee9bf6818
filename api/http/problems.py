"""Says what is wrong with a body or a query in plain words: every problem, the likeliest mistake first.

`explain` is given what pydantic found, by api/http/errors.py; `join` is given errors of other checks, by
api/jobs/drafts.py. The value that was sent is never repeated.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from core.domain.errors import AppError, InvalidParameter
from core.providers.params import CHAT_PARAMS

_MOST: Final = 20
_MOST_EXAMINED: Final = 100
_LONGEST_NAME: Final = 80
Path: TypeAlias = tuple[str, ...]
# Where FastAPI found it; no part of its name.
_PLACES: Final = frozenset({"body", "query", "path", "header"})
_MISMATCH: Final = frozenset({"string_type", "list_type"})
# What other APIs, or other parts of this one, call a field of ours; by the name of the schema.
_JOB_NAMES: Final[Mapping[str, str]] = {
    "messages": "input",
    "prompt": "input",
    "timeout": "timeout_seconds",
    "deadline": "deadline_seconds",
    "retries": "max_attempts",
    "max_retries": "max_attempts",
    "webhook_url": "webhook.url",
    "callback_url": "webhook.url",
    "webhook_events": "webhook.events",
    "events": "webhook.events",
    "event_types": "webhook.events",
    "webhook.event_types": "webhook.events",
    "idempotency_key": "the header `Idempotency-Key`",
    **{name: f"params.{name}" for name in CHAT_PARAMS},
}
_ENDPOINT_NAMES: Final[Mapping[str, str]] = {"events": "event_types", "webhook_url": "url", "types": "event_types"}
_OTHER_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "SubmitJob": _JOB_NAMES,
    "BulkSubmit": {"lines": "jobs", "requests": "jobs"},
    "BulkChange": {"state": "status", "states": "status"},
    "CreateWebhookEndpoint": _ENDPOINT_NAMES,
    "UpdateWebhookEndpoint": _ENDPOINT_NAMES,
    "TestWebhookEndpoint": {"event": "event_type", "type": "event_type"},
}
_PLAIN: Final[Mapping[str, str]] = {
    "missing": "is required",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "datetime_type": "must be a time such as 2026-03-04T05:06:07Z",
    "datetime_parsing": "must be a time such as 2026-03-04T05:06:07Z",
    "datetime_from_date_parsing": "must be a time such as 2026-03-04T05:06:07Z",
    "timezone_aware": "needs an offset, such as the Z in 2026-03-04T05:06:07Z",
    "date_from_datetime_parsing": "must be a time such as 2026-03-04T05:06:07Z",
    "finite_number": "must be a finite number",
    "none_required": "must be null",
    "union_tag_not_found": "needs a `type`",
}


class CodedError(ValueError):
    """What a validator raises for a problem that has a code of its own."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Problem:
    """One of pydantic's, with its place: `path` as a caller would write it, `branches` where a union was tried."""

    __slots__ = ("branches", "kind", "limits", "path", "text")

    def __init__(self, found: Mapping[str, object]) -> None:
        location, limits = found.get("loc", ()), found.get("ctx", {})
        self.kind = str(found.get("type", ""))
        self.text = str(found.get("msg", "invalid"))
        self.limits: Mapping[str, object] = limits if isinstance(limits, dict) else {}
        self.path, self.branches = _walk(location if isinstance(location, tuple | list) else ())


def explain(found: Sequence[object], schema: str = "") -> InvalidParameter:
    """The error for what pydantic found. `schema` names the model that was read, for hints."""
    problems = _distinct(_Problem(each) for each in found[:_MOST_EXAMINED] if isinstance(each, dict))
    problems.sort(key=lambda problem: problem.kind != "extra_forbidden")
    if not problems:
        return InvalidParameter("The request is invalid.")
    hints = _OTHER_NAMES.get(schema, {})
    first, raised = problems[0], problems[0].limits.get("error")
    return InvalidParameter(
        _sentence([_described(problem, hints) for problem in problems], max(0, len(found) - _MOST_EXAMINED)),
        code=raised.code if isinstance(raised, CodedError) else None,
        param=".".join(first.path) or None,
    )


def join(errors: Sequence[AppError]) -> AppError:
    """One error that names every problem; code and param are the first one's."""
    first = errors[0]
    if len(errors) == 1:
        return first
    message = " ".join(error.message for error in errors[:_MOST])
    return InvalidParameter(message, code=first.code, param=first.param)


def _sentence(described: Sequence[str], unexamined: int) -> str:
    listed = list(described[:_MOST])
    more = len(described) - len(listed) + unexamined
    if more:
        listed.append(f"and {more} more")
    return f"{'; '.join(listed)}."


def _walk(location: Iterable[object]) -> tuple[Path, tuple[tuple[Path, str], ...]]:
    """Pydantic's location without the names of the types that it tried, and these with where it tried them."""
    path: list[str] = []
    branches: list[tuple[Path, str]] = []
    tag_follows = False
    for number, part in enumerate(location):
        text = str(part)
        if number == 0 and text in _PLACES:
            continue
        if isinstance(part, str) and (text in ("str", "constrained-str", "[key]") or "[" in text):
            branches.append((tuple(path), text))
            tag_follows = "tagged-union[" in text
        elif tag_follows and isinstance(part, str):
            tag_follows = False
        else:
            path.append(text[:_LONGEST_NAME])
    return tuple(path), tuple(branches)


def _distinct(problems: Iterable[_Problem]) -> list[_Problem]:
    """Drops problems of types that the caller did not mean: pydantic reports every member of a union that failed."""
    kept = list(problems)
    tried: dict[Path, set[str]] = defaultdict(set)
    meant: dict[Path, set[str]] = defaultdict(set)
    for problem in kept:
        for place, branch in problem.branches:
            tried[place].add(branch)
            if problem.kind not in _MISMATCH or problem.path != place:
                meant[place].add(branch)
    found: list[_Problem] = []
    for problem in kept:
        if any(meant[place] and branch not in meant[place] for place, branch in problem.branches):
            continue
        if problem.kind in _MISMATCH and any(
            place == problem.path and len(tried[place]) > 1 for place, _ in problem.branches
        ):
            problem.kind, problem.text = "union", "must be a string or a list"
            if any(each.kind == "union" and each.path == problem.path for each in found):
                continue
        found.append(problem)
    return found


def _described(problem: _Problem, hints: Mapping[str, str]) -> str:
    name = ".".join(problem.path)
    words = _words(problem, hints)
    # A problem of the whole has no name in front.
    return f"{name}: {words}" if name else f"{words[0].upper()}{words[1:]}"


def _words(problem: _Problem, hints: Mapping[str, str]) -> str:
    limits = problem.limits
    match problem.kind:
        case "extra_forbidden":
            known = hints.get(".".join(problem.path))
            quoted = known if known is None or "`" in known else f"`{known}`"
            words = "there is no such field" + (f" (use {quoted})" if quoted else "")
        case "literal_error" | "enum":
            words = f"must be {limits.get('expected')}"
        case "union_tag_invalid":
            words = f"its `type` must be one of {limits.get('expected_tags')}"
        case "string_too_short" | "too_short":
            words = f"must have at least {_counted(limits.get('min_length'), problem.kind)}"
        case "string_too_long" | "too_long":
            words = f"must have at most {_counted(limits.get('max_length'), problem.kind)}"
        case "greater_than_equal":
            words = f"must be at least {limits.get('ge'):.12g}"
        case "less_than_equal":
            words = f"must be at most {limits.get('le'):.12g}"
        case "greater_than":
            words = f"must be greater than {limits.get('gt'):.12g}"
        case "less_than":
            words = f"must be less than {limits.get('lt'):.12g}"
        case kind:
            words = _PLAIN.get(kind) or problem.text.removeprefix("Value error, ").replace("Input should be", "must be")
    return words.rstrip(".")


def _counted(number: object, kind: str) -> str:
    unit = "character" if kind.startswith("string") else "item"
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
