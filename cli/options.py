"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for programs.")]
TenantOption = Annotated[str, typer.Option(help="The tenant's name.")]
ApiUrlOption = Annotated[
    str | None, typer.Option(help="URL of the API. Default: INFERD_API_URL, else the running `inferd serve`.")
]
ApiKeyOption = Annotated[
    str | None, typer.Option(help="API key. Default: INFERD_API_KEY, else the key of the running `inferd serve`.")
]
