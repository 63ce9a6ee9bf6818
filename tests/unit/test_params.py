"""Params that no server takes are refused at submit; how much is too much is for the provider to say."""

import pytest
from pydantic import JsonValue

from core.domain.errors import InvalidParameter
from core.providers.params import check_chat_params


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_tokens", -5, "at least 1"),
        ("max_tokens", 0, "at least 1"),
        ("max_completion_tokens", 0, "at least 1"),
        ("temperature", -0.1, "at least 0"),
        ("top_p", -1, "at least 0"),
        ("max_tokens", True, "a whole number"),
        ("temperature", "hot", "a number"),
    ],
)
def test_what_no_server_takes_is_refused(name: str, value: JsonValue, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said) as refused:
        check_chat_params({name: value})
    assert refused.value.param == f"params.{name}"


def test_the_rest_is_the_providers_to_judge() -> None:
    """Neither of them raises: -1 tokens is some servers' word for no limit."""
    check_chat_params({"max_tokens": -1, "max_completion_tokens": -1})
    check_chat_params({"max_tokens": 10**9, "temperature": 5, "top_p": None, "seed": -1})
