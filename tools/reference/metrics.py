"""Generates docs/reference/metrics.md from core/observability/metrics.py."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from core.observability import metrics
from tools.reference.page import Page, code, markdown, table

_INTRODUCTION: Final = """
# Metrics

The API serves its metrics at `/metrics`, and a worker serves its own at `/metrics` on `INFERD_WORKER_METRICS_PORT`, in
Prometheus's text format. Times are in seconds. No label names a tenant. A histogram adds `_bucket`, `_sum` and `_count`
to its name.
"""


def pages() -> Iterator[Page]:
    yield markdown("metrics.md", "core/observability/metrics.py", _blocks())


def _blocks() -> Iterator[str]:
    yield _INTRODUCTION
    yield table(("Name", "Type", "Labels", "What it counts"), _rows())


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            described = next(iter(metric.describe()))
            name = described.name + ("_total" if described.type == "counter" else "")
            labels = ", ".join(code(label) for label in metric._labelnames)  # noqa: SLF001 - there is no public way
            yield code(name), described.type, labels, described.documentation
