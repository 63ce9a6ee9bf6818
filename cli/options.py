"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people, or for programs.")]
TenantOption = Annotated[str, typer.Option(help="The tenant's name.")]
ApiUrlOption = Annotated[str | None, typer.Option(help="Default: INFERD_API_URL, else the running `inferd serve`.")]
ApiKeyOption = Annotated[str | None, typer.Option(help="Default: INFERD_API_KEY, else that of `inferd serve`.")]
