"""All metrics: name, help and labels. Base units, low cardinality, no label for the tenant. Served at /metrics."""

from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY: Final = CollectorRegistry()
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)

SUBMITTED: Final = Counter(
    "inferd_jobs_submitted_total", "Jobs accepted, counted after COMMIT.", ["provider", "priority"], registry=REGISTRY
)
FINISHED: Final = Counter(
    "inferd_jobs_finished_total", "Jobs that ended, by final state.", ["provider", "state"], registry=REGISTRY
)
ATTEMPTS: Final = Counter(
    "inferd_job_attempts_total", "Attempts that ended, by outcome.", ["provider", "outcome"], registry=REGISTRY
)
RETRIES: Final = Counter(
    "inferd_job_retries_total",
    "Attempts after which the job was queued again, by reason.",
    ["provider", "reason"],
    registry=REGISTRY,
)
QUEUE_WAIT: Final = Histogram(
    "inferd_job_wait_seconds",
    "Seconds from the time a job was due until a worker claimed it.",
    ["priority"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
RUN_TIME: Final = Histogram(
    "inferd_job_run_seconds",
    "Duration of one call to a provider, in seconds.",
    ["provider"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
TOKENS: Final = Counter(
    "inferd_provider_tokens_total",
    "Tokens that providers reported, by direction: input or output.",
    ["provider", "direction"],
    registry=REGISTRY,
)
ENQUEUED: Final = Counter(
    "inferd_enqueued_total", "Job ids enqueued in Redis, by outcome.", ["outcome"], registry=REGISTRY
)
STALE: Final = Counter(
    "inferd_stale_writes_total", "Writes of superseded runs that were discarded, by edge.", ["edge"], registry=REGISTRY
)
SWEPT: Final = Counter("inferd_swept_total", "Items repaired by the sweep, by kind.", ["kind"], registry=REGISTRY)
PRUNED: Final = Counter("inferd_pruned_total", "Rows deleted by retention, by kind.", ["kind"], registry=REGISTRY)
DELIVERIES: Final = Counter(
    "inferd_webhook_attempts_total", "Attempts at webhook deliveries, by outcome.", ["outcome"], registry=REGISTRY
)
DELIVERY_TIME: Final = Histogram(
    "inferd_webhook_seconds",
    "Duration of one attempt at a webhook delivery, in seconds.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
SLOTS: Final = Gauge("inferd_worker_slots", "Slots of this worker process, by state.", ["state"], registry=REGISTRY)
BREAKERS_OPEN: Final = Gauge(
    "inferd_breakers_open",
    "Models whose circuit breaker is open in this worker process.",
    ["provider"],
    registry=REGISTRY,
)
MISCONFIGURED: Final = Counter(
    "inferd_worker_misconfigured_total",
    "Jobs that this worker could not run and left to others, by reason.",
    ["reason"],
    registry=REGISTRY,
)
HTTP_REQUESTS: Final = Histogram(
    "inferd_http_request_seconds",
    "Duration of HTTP requests in seconds, by route and status.",
    ["method", "route", "status"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
EXPECTED_FAILURES: Final = Counter(
    "inferd_expected_failures_total",
    "Operational errors (outages and refusals, not bugs), by exception class.",
    ["kind"],
    registry=REGISTRY,
)


def count(counter: Counter, *labels: str, by: float = 1) -> None:
    """Adds `by` to the counter; `labels` are in the metric's order. The children are cached: a look-up is slow."""
    _counter_of(counter, *labels).inc(by)


def observe(histogram: Histogram, value: float, *labels: str) -> None:
    """Records `value` in the histogram; `labels` are in the metric's order."""
    _histogram_of(histogram, *labels).observe(value)


@cache
def _counter_of(counter: Counter, *labels: str) -> Counter:
    return counter.labels(*labels)


@cache
def _histogram_of(histogram: Histogram, *labels: str) -> Histogram:
    return histogram.labels(*labels)


def render() -> bytes:
    """Returns the metrics of this process in Prometheus's text format."""
    return generate_latest(REGISTRY)
