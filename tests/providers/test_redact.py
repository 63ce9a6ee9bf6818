"""What providers echo back must not be stored: keys, prompts, control characters, whole pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.providers.redact import MAX_TEXT, Redaction, prompts_of


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdef0123456789",
        "sk-ant-api03-abcdef",
        "hf_abcdefghijkl",
        "gsk_abcdefghijkl",
        "Bearer abc.def.ghi-jkl",
        "AIzaSyA-0123456789",
        "inf_live_0123_abcdef",
        "sk-...****abcd",
    ],
)
def test_what_looks_like_a_key_is_hidden(key: str) -> None:
    assert Redaction().apply(f"Incorrect API key provided: {key}, sorry") == "Incorrect API key provided: [key], sorry"


def test_a_known_key_of_any_shape_is_hidden() -> None:
    assert Redaction(secrets=("pass word", "")).apply("key 'pass word' is wrong") == "key '[key]' is wrong"


def test_ordinary_words_stay() -> None:
    text = "The model `gpt-9` does not exist: ask-someone, risk-free, org-wide."

    assert Redaction(prompts=("Tell me a story about a model ship.",)).apply(text) == text


def test_control_characters_become_spaces() -> None:
    assert Redaction().apply("a\x00b\n\n\tc\ud800d\x1b[31m") == "a b c d [31m"


def test_short_prompts_are_hidden_as_a_whole() -> None:
    assert Redaction(prompts=("PIN 4711", "a")).apply("bad value: PIN 4711") == "bad value: [prompt]"


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=23, max_size=120),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_a_stretch_of_the_prompt_never_comes_back(prompt: str, cut: int, shift: int) -> None:
    echoed = prompt[cut:] if len(prompt) - cut >= 23 else prompt

    shown = Redaction(prompts=(prompt,)).apply("~" * shift + echoed + "~")

    assert echoed not in shown
    assert "[prompt]" in shown


@given(st.text(max_size=3000), st.text(max_size=200))
def test_it_is_always_short_and_printable(text: str, prompt: str) -> None:
    shown = Redaction(secrets=("k",), prompts=(prompt,)).apply(text)

    assert len(shown) <= MAX_TEXT
    assert shown.isprintable()


def test_all_texts_of_a_request_count_as_prompts() -> None:
    found = prompts_of(
        [
            {"role": "system", "content": "short"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a longer part"},
                    {"type": "image_url", "image_url": {"url": "data:x"}},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": "{}"}}]},
        ]
    )

    assert found == ("a longer part", "data:x", "short", "{}")
