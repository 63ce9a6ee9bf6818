"""Every scenario by name, in the order in which `make bench` runs them."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from bench.outcome import Row
from bench.scenarios import (
    big_tables,
    bulk_submit,
    closed_loop,
    flood,
    get,
    idle_dispatch,
    idle_workers,
    in_flight,
    provider_calls,
    scaling,
    submit,
    webhook,
    worker_noop,
)
from bench.stack import Bench

Scenario = Callable[[Bench], Awaitable[list[Row]]]

SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "submit": submit.run,
        "bulk_submit": bulk_submit.run,
        "get": get.run,
        "worker_noop": worker_noop.run,
        "closed_loop": closed_loop.run,
        "idle_dispatch": idle_dispatch.run,
        "idle_workers": idle_workers.run,
        "webhook": webhook.run,
        "provider_calls": provider_calls.run,
        "in_flight": in_flight.run,
        "big_tables": big_tables.run,
        "flood": flood.run,
        "scaling": scaling.run,
    }
)
