"""Weighted shares that are exact over time, whatever the size of each claim."""

from hypothesis import given
from hypothesis import strategies as st

from core.queue.keys import JOB_LANES, LANE_WEIGHTS
from core.queue.shares import Shares, kept_free

WEIGHTS = st.lists(st.integers(1, 20), min_size=1, max_size=5)


@given(weights=WEIGHTS, claims=st.lists(st.integers(0, 300), max_size=40))
def test_each_claim_is_split_whole(weights: list[int], claims: list[int]) -> None:
    shares = Shares(weights)

    for wanted in claims:
        split = shares.split(wanted)
        assert sum(split) == wanted
        assert min(split) >= 0


@given(weights=WEIGHTS, claims=st.lists(st.integers(0, 50), max_size=40))
def test_what_matters_is_the_sum_and_not_how_it_was_claimed(weights: list[int], claims: list[int]) -> None:
    in_parts, at_once = Shares(weights), Shares(weights)
    totals = [0] * len(weights)

    for wanted in claims:
        totals = [total + share for total, share in zip(totals, in_parts.split(wanted), strict=True)]

    assert totals == at_once.split(sum(claims))


@given(weights=WEIGHTS, claims=st.lists(st.integers(1, 50), max_size=40))
def test_a_lane_is_never_more_than_its_weight_away_from_its_share(weights: list[int], claims: list[int]) -> None:
    shares, served = Shares(weights), [0] * len(weights)

    for wanted in claims:
        served = [total + share for total, share in zip(served, shares.split(wanted), strict=True)]
        for weight, got in zip(weights, served, strict=True):
            assert abs(got - sum(served) * weight / sum(weights)) < max(weight, 1)


def test_the_lanes_of_jobs_are_served_eight_to_four_to_one() -> None:
    shares = Shares([LANE_WEIGHTS[lane] for lane in JOB_LANES])
    one_by_one = [shares.split(1) for _ in range(13)]

    assert [sum(lane) for lane in zip(*one_by_one, strict=True)] == [8, 4, 1]
    # Smooth: not eight of the first in a row.
    assert all(sum(turn[0] for turn in one_by_one[start : start + 4]) < 4 for start in range(10))


def test_one_slot_at_a_time_starves_nobody() -> None:
    shares = Shares([1000, 1])
    served = [shares.split(1) for _ in range(1001)]

    assert sum(turn[1] for turn in served) == 1


def test_a_worker_of_few_slots_keeps_few_free() -> None:
    assert [kept_free(slots) for slots in (1, 3, 4, 8, 16, 20, 40, 100, 1000)] == [0, 0, 1, 2, 4, 4, 4, 10, 100]
