"""Every metric, once: name, help and labels. Base units, low cardinality, no tenant. Served at /metrics."""

from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY: Final = CollectorRegistry()
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)

SUBMITTED: Final = Counter(
    "inferd_jobs_submitted_total", "Jobs accepted (after COMMIT).", ["provider", "priority"], registry=REGISTRY
)
FINISHED: Final = Counter(
    "inferd_jobs_finished_total", "Jobs that reached a final state.", ["provider", "state"], registry=REGISTRY
)
ATTEMPTS: Final = Counter(
    "inferd_job_attempts_total", "Runs at a provider, by how they ended.", ["provider", "outcome"], registry=REGISTRY
)
RETRIES: Final = Counter(
    "inferd_job_retries_total", "Runs that queued the job again, by reason.", ["provider", "reason"], registry=REGISTRY
)
QUEUE_WAIT: Final = Histogram(
    "inferd_job_wait_seconds", "From due to claimed.", ["priority"], buckets=_SECONDS, registry=REGISTRY
)
RUN_TIME: Final = Histogram(
    "inferd_job_run_seconds", "One call to a provider.", ["provider"], buckets=_SECONDS, registry=REGISTRY
)
TOKENS: Final = Counter(
    "inferd_provider_tokens_total", "Tokens as providers counted them.", ["provider", "direction"], registry=REGISTRY
)
ENQUEUED: Final = Counter(
    "inferd_enqueued_total", "Job ids enqueued in Redis, by outcome.", ["outcome"], registry=REGISTRY
)
STALE: Final = Counter(
    "inferd_stale_writes_total", "Writes refused because the job had moved on.", ["edge"], registry=REGISTRY
)
SWEPT: Final = Counter("inferd_swept_total", "What the sweep repaired.", ["kind"], registry=REGISTRY)
PRUNED: Final = Counter("inferd_pruned_total", "Rows that retention deleted.", ["kind"], registry=REGISTRY)
DELIVERIES: Final = Counter(
    "inferd_webhook_attempts_total", "Webhook attempts, by outcome.", ["outcome"], registry=REGISTRY
)
DELIVERY_TIME: Final = Histogram("inferd_webhook_seconds", "One webhook attempt.", buckets=_SECONDS, registry=REGISTRY)
SLOTS: Final = Gauge("inferd_worker_slots", "Slots of this worker, by state.", ["state"], registry=REGISTRY)
BREAKERS_OPEN: Final = Gauge(
    "inferd_breakers_open", "Models with an open circuit breaker.", ["provider"], registry=REGISTRY
)
MISCONFIGURED: Final = Counter(
    "inferd_worker_misconfigured_total", "Jobs left to other workers, by reason.", ["reason"], registry=REGISTRY
)
HTTP_REQUESTS: Final = Histogram(
    "inferd_http_request_seconds",
    "Requests, by route and status.",
    ["method", "route", "status"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
EXPECTED_FAILURES: Final = Counter(
    "inferd_expected_failures_total", "Expected failures (network, provider), not bugs.", ["kind"], registry=REGISTRY
)


def count(counter: Counter, *labels: str, by: float = 1) -> None:
    """Adds to the counter's child. `labels` are in the metric's order; finding a child anew costs more than adding."""
    _counter_of(counter, *labels).inc(by)


def observe(histogram: Histogram, value: float, *labels: str) -> None:
    """As `count`, for a histogram."""
    _histogram_of(histogram, *labels).observe(value)


@cache
def _counter_of(counter: Counter, *labels: str) -> Counter:
    return counter.labels(*labels)


@cache
def _histogram_of(histogram: Histogram, *labels: str) -> Histogram:
    return histogram.labels(*labels)


def render() -> bytes:
    """The exposition of this process, in Prometheus's text format."""
    return generate_latest(REGISTRY)
