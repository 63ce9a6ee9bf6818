"""The names and payloads in Redis: ids only, and foreign content is recognised."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.ids import DeliveryId, JobId
from core.domain.job_state import Priority
from core.queue.keys import JOB_LANES, LANE_WEIGHTS, Keys, Lane, delivery_member, job_member, lane_of, parse_member
from core.queue.payload import DELIVER_WEBHOOK, RUN_JOB, dumps, loads, payload, read


def test_a_member_names_its_row() -> None:
    job_id, delivery_id = JobId(uuid4()), DeliveryId(uuid4())

    assert parse_member(job_member(job_id)) == job_id
    assert parse_member(delivery_member(delivery_id)) == delivery_id
    assert job_member(job_id) == f"job_{job_id.hex}"
    assert delivery_member(delivery_id) == f"dlv_{delivery_id.hex}"


@given(st.text(max_size=50))
def test_a_foreign_member_is_nobodys(text: str) -> None:
    assert parse_member(text) is None


@pytest.mark.parametrize("priority", Priority, ids=lambda each: each.value)
def test_each_priority_has_its_lane(priority: Priority) -> None:
    assert lane_of(priority).value == priority.value
    assert lane_of(priority) in JOB_LANES


def test_every_lane_has_a_weight_and_every_key_the_prefix() -> None:
    keys = Keys("mine")
    names = [*map(keys.lane, Lane), keys.wake, keys.cancelled, keys.changed, keys.epoch, keys.spool(JobId(uuid4()))]

    assert set(LANE_WEIGHTS) == set(Lane)
    assert len(set(names)) == len(names)
    assert all(name.startswith("mine:") for name in names)


def test_a_payload_holds_a_name_and_an_id() -> None:
    member = job_member(JobId(uuid4()))

    assert loads(payload(RUN_JOB, member)) == {"t": None, "f": "run_job", "a": [member], "k": {}, "et": 0, "flow": ""}
    assert read(payload(DELIVER_WEBHOOK, member))[0] == "deliver_webhook"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"f": 7}', b"\x80\x05pickle", b"null", b'{"f": "run_job"'])
def test_a_foreign_payload_names_no_function(data: bytes) -> None:
    assert read(data)[0] is None


@given(st.dictionaries(st.text(max_size=5), st.integers(-(2**53), 2**53)))
def test_what_is_dumped_is_loaded(data: dict[str, int]) -> None:
    assert loads(dumps({**data})) == data
