"""The Lua scripts as Redis gets them: every include is there once, and every constant is defined."""

import re

import pytest

from core.queue.lua_text import CONSTANTS, SCRIPTS, lua_text

# Strings and comments, in which a name means nothing.
_NO_CODE = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|--[^\n]*")


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_constant_is_defined(name: str) -> None:
    code = _NO_CODE.sub("", lua_text(name))
    used = set(re.findall(r"\b[A-Z][A-Z_]+\b", code)) - {"KEYS", "ARGV"}
    assert used == set(re.findall(r"^local ([A-Z][A-Z_]+) =", code, re.MULTILINE))


def test_a_file_that_two_others_include_comes_once() -> None:
    assert lua_text("claim").count("redis.call('TIME')") == 1


def test_a_constant_of_python_is_the_same_in_lua() -> None:
    assert f"local PAYLOAD = '{CONSTANTS['PAYLOAD']}'\n" in lua_text("finish")
    assert f"local MAX_PARKED = {CONSTANTS['MAX_PARKED']}\n" in lua_text("claim")
