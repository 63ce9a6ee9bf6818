"""Which params a job may set: a closed list, so that a typo is refused at submit instead of being paid for.

Used by core/providers/catalogue.py at submit and by the adapters; imports no SDK, so the API needn't load one.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from pydantic import JsonValue

from core.domain.errors import InvalidParameter

CHAT_PARAMS: Final = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)


def check_params(params: Mapping[str, JsonValue], known: Iterable[str]) -> None:
    """Raises InvalidParameter for a name that is not known, naming the nearest, and for more than one answer."""
    names = sorted(known)
    for name in params:
        if name not in names:
            nearest = get_close_matches(name[:80], names, 1)
            hint = f"did you mean `{nearest[0]}`?" if nearest else f"known are {', '.join(names)}."
            raise InvalidParameter(f"Unknown param `{name[:80]}`: {hint}", param=f"params.{name[:80]}")
    n = params.get("n")
    if n is not None and (isinstance(n, bool) or n != 1):
        raise InvalidParameter("A job has one answer: leave `n` out, or submit several jobs.", param="params.n")
