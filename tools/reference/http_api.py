"""docs/reference/openapi.json and api.md, from the API's own OpenAPI document.

`python -m api.main --openapi` prints the document, in a process of its own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cli.exit_codes import CommandFailed
from tools.reference.page import REPOSITORY, Page, code, markdown, table

_SOURCE: Final = "the API's OpenAPI document"
_INTRODUCTION: Final = """
# HTTP API

Every path below `/v1` needs `Authorization: Bearer inf_live_…`. Bodies are JSON; a field or a query parameter that is
not named here is refused. Times are RFC 3339 in UTC; those of webhook endpoints and events, which are objects as OpenAI
has them, are Unix seconds where their type is integer. Every response has an `x-request-id`, apart from those to
requests that were not read (408, 400 for a head that is no HTTP or too large, 503 for too many connections). Every
error has the shape of [errors.md](errors.md). *Today* stands before the values that a field has in this version; more
may be added ([compatibility.md](compatibility.md)). The same for
machines: [openapi.json](openapi.json), and `/openapi.json` of a running server.
"""
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_FIRST: Final = "/v1/jobs"
_MOST_VALUES: Final = 8

Document = Mapping[str, Any]


def pages() -> Iterator[Page]:
    document = read_document()
    marked = {"x-generated": "by `make docs`; do not edit", **document}
    # JSON has no comments: the mark is the first member, on the first line.
    text = json.dumps(marked, indent=2, ensure_ascii=False).replace("{\n  ", "{ ", 1)
    yield Page("docs/reference/openapi.json", text + "\n")
    yield markdown("api.md", _SOURCE, _blocks(_inlined(document, document["components"])))


def read_document() -> dict[str, Any]:
    """Raises CommandFailed when the API can't print it."""
    command = [sys.executable, "-m", "api.main", "--openapi"]
    printed = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True)  # noqa: S603 - our own module
    if printed.returncode:
        raise CommandFailed(f"the API can't print its OpenAPI document:\n{printed.stderr.decode()}")
    document: dict[str, Any] = json.loads(printed.stdout)
    return document


def _blocks(document: Document) -> Iterator[str]:
    yield _INTRODUCTION
    # The resource that everything is about comes first, the probes last.
    for path in sorted(
        document["paths"], key=lambda path: (not path.startswith(_FIRST), not path.startswith("/v1"), path)
    ):
        for method in _METHODS:
            if method in document["paths"][path]:
                yield from _operation(method, path, document["paths"][path][method])
    yield "## Shapes"
    for name, schema in sorted(document["components"]["schemas"].items()):
        if schema.get("properties"):
            yield f"### {name}"
            if schema.get("description"):
                yield schema["description"]
            yield table(("Field", "Type", "What it is"), _fields(schema))


def _inlined(value: Any, components: Document) -> Any:
    """`value` without references to parameters, and to shapes without fields: those get no section."""
    match value:
        case {"$ref": str(reference)}:
            kind, name = reference.split("/")[-2:]
            target = components[kind][name]
            if kind == "schemas" and target.get("properties"):
                return value
            return target | {member: each for member, each in value.items() if member != "$ref"}
        case dict():
            return {name: _inlined(each, components) for name, each in value.items()}
        case list():
            return [_inlined(each, components) for each in value]
        case _:
            return value


def _operation(method: str, path: str, operation: Document) -> Iterator[str]:
    yield f"## {code(f'{method.upper()} {path}')}"
    yield f"{operation['summary']}: {code(operation['operationId'])}."
    yield operation.get("description", "")
    parameters = operation.get("parameters", [])
    if parameters:
        yield table(
            ("Parameter", "In", "Type", "What it is"),
            [(code(each["name"]), each["in"], _type(each["schema"]), _text(each)) for each in parameters],
        )
    if "requestBody" in operation:
        yield f"Body: {_type(operation['requestBody']['content']['application/json']['schema'])}."
    yield table(
        ("Status", "Response"), [_response(status, each) for status, each in sorted(operation["responses"].items())]
    )


def _response(status: str, response: Document) -> tuple[str, str]:
    shapes = [_type(each["schema"]) for name, each in response.get("content", {}).items() if name == "application/json"]
    return status, " ".join([response["description"], *(f"({shape})" for shape in shapes)])


def _fields(schema: Document) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        mark = " **required**" if name in required and "View" not in schema.get("title", "View") else ""
        yield code(name), _type(field) + mark, _text(field)


def _text(described: Document) -> str:
    schema = described.get("schema", described)
    parts = [str(described.get("description", ""))]
    if known := schema.get("x-extensible-enum"):
        shown = [code(str(each)) for each in known[:_MOST_VALUES]]
        parts.append(f"Today {', '.join(shown)}{', …' if len(known) > _MOST_VALUES else ''}.")
    examples = described.get("examples", [])
    if examples and examples != [None] and not isinstance(examples[0], bool):
        parts.append(f"Example: {code(json.dumps(examples[0], ensure_ascii=False))}.")
    if schema.get("default") not in (None, [], {}):
        parts.append(f"Default: {code(json.dumps(schema['default']))}.")
    return " ".join(parts).strip()


def _type(schema: Document) -> str:  # noqa: PLR0911 - one line for each shape that a schema can have
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": list(options)} | {"oneOf": list(options)}:
            return " or ".join(dict.fromkeys(_type(option) for option in options))
        case {"const": value}:
            return code(json.dumps(value))
        case {"enum": list(values)}:
            return ", ".join(code(str(value)) for value in values)
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items)}"
        case {"type": list(names)}:
            return " or ".join(names)
        case {"type": "string", "format": str(form)}:
            return form
        case {"type": "object", "properties": dict(members)}:
            return f"object of {', '.join(map(code, members))}"
        case {"type": str(name)}:
            return name + _bounds(schema)
        case _:
            return "any JSON"


_BOUNDS: Final = (
    ("minimum", "≥"),
    ("exclusiveMinimum", ">"),
    ("maximum", "≤"),
    ("exclusiveMaximum", "<"),
    ("minLength", "length ≥"),
    ("maxLength", "length ≤"),
    ("maxProperties", "pairs ≤"),
)


def _bounds(schema: Document) -> str:
    said = [f"{sign} {schema[name]:.12g}" for name, sign in _BOUNDS if name in schema]
    return f" ({', '.join(said)})" if said else ""
