"""The defaults keep what is promised of them together: each alone could be changed without anybody noticing."""

import inspect

from core.settings import ApiSettings, JobSettings, WebhookSettings, WorkerSettings
from core.webhooks.deliveries import context
from worker.tasks import sweep

_JITTER = 1.2
_PROMISED_SECONDS = 15.0


def test_a_dead_workers_job_is_found_within_fifteen_seconds() -> None:
    worker = WorkerSettings()
    assert f"uniform(0.8, {_JITTER})" in inspect.getsource(sweep)
    assert worker.lease_seconds + _JITTER * worker.sweep_seconds < _PROMISED_SECONDS


def test_three_heartbeats_may_fail() -> None:
    worker = WorkerSettings()
    assert 3 * worker.heartbeat_seconds < worker.lease_seconds


def test_a_sender_keeps_its_lease_for_the_whole_exchange() -> None:
    webhook = WebhookSettings()
    assert context._LEASE_MARGIN_SECONDS > 0
    assert webhook.connect_timeout_seconds < webhook.timeout_seconds


def test_an_idempotency_key_outlives_the_longest_default_attempt() -> None:
    job = JobSettings()
    assert job.idempotency_hours * 3600 > job.timeout_seconds * job.max_attempts


def test_the_api_stops_within_the_three_seconds_of_ctrl_c() -> None:
    assert ApiSettings().shutdown_seconds < 3
