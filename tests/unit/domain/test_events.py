"""Types of events and their shapes, read by a receiver's library and by the openai SDK's rules."""

import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from core.domain.events import (
    EVENT_TYPES,
    EVENTS,
    JOB_EVENT_TYPES,
    PROGRESS_EVENT_TYPES,
    RESPONSE_EVENT_TYPES,
    EventType,
    example,
    response_type,
)
from core.domain.job_state import TERMINAL, JobState


def test_there_is_one_type_for_each_final_state() -> None:
    assert {f"job.{state}" for state in TERMINAL} == set(JOB_EVENT_TYPES)
    assert not set(PROGRESS_EVENT_TYPES) & set(JOB_EVENT_TYPES)


def test_every_type_is_described() -> None:
    assert set(EVENTS) == set(EVENT_TYPES)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_example_has_the_shape_of_its_type_and_a_receivers_library_reads_it(event_type: EventType) -> None:
    body = json.dumps(example(event_type))
    event = EVENTS[event_type].shape.model_validate_json(body, strict=True)
    assert (event.type, event.model_extra, event.data.model_extra) == (event_type, {}, {})

    webhook, now = Webhook("whsec_" + "A" * 43 + "="), datetime.now(UTC)
    headers = {
        "webhook-id": event.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(event.id, now, body),
    }
    assert webhook.verify(body, headers) == example(event_type)
    # Standard Webhooks 1.0: a type, a timestamp and data; the payload is thin.
    assert datetime.fromisoformat(event.timestamp).timestamp() == event.created_at
    assert len(body) < 2048


def test_each_end_has_a_name_that_openais_clients_know() -> None:
    named = {state: response_type(state, None) for state in TERMINAL}
    assert named == {
        JobState.SUCCEEDED: "response.completed",
        JobState.FAILED: "response.failed",
        JobState.EXPIRED: "response.failed",
        JobState.CANCELLED: "response.cancelled",
    }
    cut = {reason: response_type(JobState.SUCCEEDED, reason) for reason in ("length", "stop")}
    assert cut == {"length": "response.incomplete", "stop": "response.completed"}
    assert {*named.values(), *cut.values()} == set(RESPONSE_EVENT_TYPES)
