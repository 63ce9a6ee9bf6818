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
    """Nothing is refused: some servers take -1 tokens as "no limit"."""
    params: dict[str, JsonValue] = {
        "max_tokens": 10**9, "max_completion_tokens": -1, "temperature": 5, "top_p": None, "seed": -1
    }  # fmt: skip
    assert not refused_of({"max_tokens": -1} | params)
    assert refused_of(params | {"max_tokens": -2}) == "params.max_tokens"


def refused_of(params: dict[str, JsonValue]) -> str | None:
    """The parameter that is refused, if one is."""
    try:
        check_chat_params(params)
    except InvalidParameter as refused:
        return refused.param
    return None
