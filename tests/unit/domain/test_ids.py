"""Ids that round-trip, sort by time and refuse everything else."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import ids
from core.domain.ids import InvalidId, new_job_id, new_uuid, parse, parse_job, show, show_job

PREFIXES = [ids.JOB, ids.TENANT, ids.KEY, ids.ENDPOINT, ids.EVENT, ids.DELIVERY, ids.REQUEST]


@given(prefix=st.sampled_from(PREFIXES), value=st.uuids())
def test_an_id_comes_back_as_it_went(prefix: str, value: UUID) -> None:
    text = show(prefix, value)

    assert parse(prefix, text) == value
    assert text.isascii()
    assert text == text.lower()


def test_prefixes_tell_kinds_apart() -> None:
    assert len(set(PREFIXES)) == len(PREFIXES)
    text = show(ids.JOB, new_uuid())
    for prefix in PREFIXES:
        if prefix != ids.JOB:
            with pytest.raises(InvalidId):
                parse(prefix, text)


def test_ids_sort_by_the_time_they_were_made() -> None:
    made = [new_job_id() for _ in range(5_000)]

    assert len(set(made)) == len(made)
    assert made == sorted(made)
    assert [show_job(each) for each in made] == sorted(show_job(each) for each in made)


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = new_uuid()

    assert type(made) is UUID
    assert (made.version, made.variant) == (7, "specified in RFC 4122")


HEX = "0123456789abcdef" * 2
BROKEN: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "only the prefix": lambda _: "job_",
    "no prefix": lambda hexadecimal: hexadecimal,
    "another prefix": lambda hexadecimal: f"dlv_{hexadecimal}",
    "capital prefix": lambda hexadecimal: f"JOB_{hexadecimal}",
    "two underscores": lambda hexadecimal: f"job__{hexadecimal}",
    "capitals": lambda hexadecimal: f"job_{hexadecimal.upper()}",
    "too short": lambda hexadecimal: f"job_{hexadecimal[:-1]}",
    "too long": lambda hexadecimal: f"job_{hexadecimal}0",
    "dashes": lambda hexadecimal: f"job_{UUID(hex=hexadecimal)}",
    "a letter in the middle": lambda hexadecimal: f"job_{hexadecimal[:15]}g{hexadecimal[16:]}",
    "a space behind": lambda hexadecimal: f"job_{hexadecimal[:-1]} ",
    "a line behind": lambda hexadecimal: f"job_{hexadecimal}\n",
    "other digits": lambda hexadecimal: f"job_{hexadecimal[:-1]}٣",
    "a NUL": lambda hexadecimal: f"job_{hexadecimal[:-1]}\x00",
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_id_is_refused(break_it: Callable[[str], str]) -> None:
    with pytest.raises(InvalidId):
        parse_job(break_it(HEX))


@given(st.text(max_size=60))
def test_parsing_is_strict_for_any_text(text: str) -> None:
    try:
        parsed = parse_job(text)
    except InvalidId:
        return
    assert show_job(parsed) == text


def test_a_moment_bounds_the_ids_that_were_made_around_it() -> None:
    now = datetime.now(UTC)
    made = new_uuid()

    assert ids.uuid_at(now, before=1) < made < ids.uuid_at(now, before=-60)
    assert ids.uuid_at(datetime.min.replace(tzinfo=UTC)) == UUID(int=0)
    assert ids.uuid_at(datetime.max.replace(tzinfo=UTC), before=-3600) > made
