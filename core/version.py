"""The version of the installed package. Shown by the CLI and in the OpenAPI document."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("inferd")
