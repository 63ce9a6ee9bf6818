"""Makes a provider's error text safe to show: no key, no prompt, no control characters, at most 500 characters.

core/providers/faults.py calls it for each text of a provider, because providers quote keys and inputs in errors.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

MAX_TEXT: Final = 500
# More than is shown, so that a key at the cut is recognised whole; bounded, because a page may be huge.
_MAX_READ: Final = 2_000
# Shorter parts of a prompt are ordinary words that also appear in error messages.
_WINDOW: Final = 12
_SHORTEST: Final = 4
_KEY_LIKE: Final = re.compile(
    r"(?i)\b(?:(?:sk|pk|rk|hf|gsk|xai|nvapi|inf|whsec|ghp|org|proj)[-_][\w*.-]{6,}|AIza[\w-]{10,}|bearer\s+[\w.~+/=*-]{6,})"
)


@dataclass(frozen=True, slots=True)
class Redaction:
    """Removes `secrets` (known keys) and `prompts` (the texts of the request) from a text."""

    secrets: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    def apply(self, text: str) -> str:
        text = text[:_MAX_READ]
        for secret in self.secrets:
            if secret:
                text = text.replace(secret, "[key]")
        text = _KEY_LIKE.sub("[key]", text)
        for prompt in self.prompts:
            text = _mask_echo(text, prompt)
        text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def prompts_of(messages: Iterable[Mapping[str, JsonValue]]) -> tuple[str, ...]:
    """Returns every text in the messages, at any depth, longest first."""
    found: list[str] = []
    waiting: list[JsonValue] = [value for message in messages for key, value in message.items() if key != "role"]
    while waiting:
        match waiting.pop():
            case str(text):
                found.append(text)
            case list(items):
                waiting.extend(items)
            case dict(members):
                waiting.extend(value for key, value in members.items() if key != "type")
            case _:
                pass
    return tuple(sorted(found, key=len, reverse=True))


def _mask_echo(text: str, prompt: str) -> str:
    """Masks every part of 23 or more characters that the text shares with the prompt, and most shorter ones."""
    if len(prompt) < _WINDOW:
        return text.replace(prompt, "[prompt]") if len(prompt) >= _SHORTEST else text
    kept: list[str] = []
    done = at = 0
    while at + _WINDOW <= len(text):
        if text[at : at + _WINDOW] not in prompt:
            at += _WINDOW
            continue
        start, end = at, at + _WINDOW
        while start > done and text[start - 1 : end] in prompt:
            start -= 1
        while end < len(text) and text[start : end + 1] in prompt:
            end += 1
        kept += [text[done:start], "[prompt]"]
        done = at = end
    return "".join((*kept, text[done:]))
