"""The envelope of a webhook, read by a receiver's library and by the openai SDK's rules."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from core.domain.events import JOB_EVENT_TYPES, RESPONSE_EVENT_TYPES, JobEnded
from core.domain.ids import EventId, JobId, new_uuid, show_job
from core.domain.inference import Usage
from core.domain.job_state import TERMINAL, JobState
from core.domain.transitions import Failure

AT = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


def ended(state: JobState, **more: Any) -> JobEnded:
    return JobEnded(EventId(new_uuid()), JobId(new_uuid()), state, "echo/echo", sequence=3, at=AT, **more)


def test_there_is_one_type_for_each_final_state() -> None:
    assert set(JOB_EVENT_TYPES) == {"job.succeeded", "job.failed", "job.cancelled", "job.expired"}
    assert {ended(state).type for state in TERMINAL} == set(JOB_EVENT_TYPES)


def test_the_envelope_is_the_documented_one() -> None:
    event = ended(JobState.SUCCEEDED, usage=Usage(input_tokens=7, output_tokens=3, cached_tokens=2))
    job = show_job(event.job_id)

    assert event.body() == {
        "id": f"evt_{event.event_id.hex}",
        "object": "event",
        "type": "job.succeeded",
        "created_at": 1772600767,
        "timestamp": "2026-03-04T05:06:07.891011Z",
        "data": {
            "id": job,
            "job_id": job,
            "status": "succeeded",
            "model": "echo/echo",
            "sequence": 3,
            "result_url": f"/v1/jobs/{job}",
            "usage": {"input_tokens": 7, "output_tokens": 3},
        },
    }


def test_a_failure_is_told_by_code_and_message_alone() -> None:
    failure = Failure("unavailable", "provider_unavailable", "Out of service.", http_status=503, retry_after=9.0)
    data = ended(JobState.FAILED, failure=failure).body()["data"]

    assert isinstance(data, dict)
    assert data["error"] == {"code": "provider_unavailable", "message": "Out of service."}
    assert "usage" not in data


def test_what_is_not_known_is_left_out() -> None:
    data = ended(JobState.CANCELLED).body()["data"]

    assert isinstance(data, dict)
    assert not {"usage", "error"} & data.keys()


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_receivers_library_reads_it(state: JobState) -> None:
    event = ended(state)
    body = json.dumps(event.body())
    webhook, now = Webhook("whsec_" + "A" * 43 + "="), datetime.now(UTC)

    read = webhook.verify(
        body,
        {
            "webhook-id": str(event.body()["id"]),
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": webhook.sign(str(event.body()["id"]), now, body),
        },
    )

    assert read == event.body()
    # Standard Webhooks 1.0: a type, a timestamp and data; the payload is thin.
    assert {"type", "timestamp", "data"} <= event.body().keys()
    assert datetime.fromisoformat(str(event.body()["timestamp"])) == AT
    assert len(body) < 2048


def test_each_end_has_a_name_that_openais_clients_know() -> None:
    named = {state: ended(state).response_type for state in TERMINAL}
    assert named == {
        JobState.SUCCEEDED: "response.completed",
        JobState.FAILED: "response.failed",
        JobState.EXPIRED: "response.failed",
        JobState.CANCELLED: "response.cancelled",
    }
    cut = {reason: ended(JobState.SUCCEEDED, finish_reason=reason).response_type for reason in ("length", "stop")}
    assert cut == {"length": "response.incomplete", "stop": "response.completed"}
    assert {*named.values(), *cut.values()} == set(RESPONSE_EVENT_TYPES)
