"""Every scenario by name, in the order in which `make bench` runs them."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from bench.outcome import Row
from bench.scenarios import submit
from bench.stack import Bench

Scenario = Callable[[Bench], Awaitable[list[Row]]]

SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "submit": submit.run,
    }
)
