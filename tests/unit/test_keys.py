"""API keys: their shape, their check, and what is kept of them."""

import hashlib
import string
import zlib

from hypothesis import given
from hypothesis import strategies as st

from core.access.keys import new_key, parse_key

BASE62 = set(string.digits + string.ascii_letters)


def test_a_key_has_the_documented_shape() -> None:
    text, presented = new_key()
    brand, mode, public_id, rest = text.split("_")

    assert (brand, mode, public_id) == ("inf", "live", presented.public_id)
    assert (len(public_id), len(rest)) == (16, 49)
    assert set(public_id + rest) <= BASE62


def test_only_the_hash_of_the_whole_is_kept() -> None:
    text, presented = new_key()

    assert presented.secret_hash == hashlib.sha256(text.encode()).digest()
    assert text.rpartition("_")[2] not in repr(presented)


def test_keys_are_never_twice_the_same() -> None:
    made = [new_key() for _ in range(500)]

    assert len({text for text, _ in made}) == len({presented.public_id for _, presented in made}) == 500


def test_a_key_reads_as_it_was_made() -> None:
    for _ in range(100):
        text, presented = new_key()
        assert parse_key(text) == presented


def test_the_check_is_the_crc_of_what_stands_before_it() -> None:
    text, _ = new_key()
    alphabet = string.digits + string.ascii_uppercase + string.ascii_lowercase
    number = 0
    for digit in text[-6:]:
        number = number * 62 + alphabet.index(digit)

    assert number == zlib.crc32(text[:-6].encode())


def test_one_wrong_character_anywhere_is_seen_without_a_look_up() -> None:
    text, _ = new_key()

    for position, character in enumerate(text):
        for other in "0", "z", "_", " ":
            if other != character:
                assert parse_key(text[:position] + other + text[position + 1 :]) is None


def test_a_key_is_taken_as_it_is_or_not_at_all() -> None:
    text, _ = new_key()

    for changed in (text.upper(), text.lower(), text.swapcase(), f" {text}", f"{text}\n", text[:-1], f"{text}0"):
        assert parse_key(changed) is None


@given(st.text(max_size=120))
def test_junk_is_no_key(text: str) -> None:
    assert parse_key(text) is None
    assert parse_key(f"inf_live_{text}") is None
