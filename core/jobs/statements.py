"""The texts of the statements in core/jobs/sql. Used by core/jobs only."""

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """The text of sql/{name}.sql."""
    return files("core.jobs.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")
