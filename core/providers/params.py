"""Checks the params of a job: any that the server may know, except those that inferd sets itself.

core/providers/catalogue.py uses it at submit, and the adapters again; it imports no SDK, so the API loads none.
OpenAI's params are checked for their type, so that `"temperature": "hot"` is refused at submit. All others are passed
on unchanged, because vLLM, Ollama and llama.cpp each have dozens of their own.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

import orjson
from pydantic import JsonValue

from core.domain.errors import InvalidParameter

_Kinds = tuple[type, ...]
_NUMBER: Final[_Kinds] = (int, float)
_WHOLE: Final[_Kinds] = (int,)
_TEXT: Final[_Kinds] = (str,)
_SWITCH: Final[_Kinds] = (bool,)
_LIST: Final[_Kinds] = (list,)
_OBJECT: Final[_Kinds] = (dict,)
_KINDS: Final[Mapping[str, _Kinds]] = MappingProxyType(
    {
        "frequency_penalty": _NUMBER,
        "logit_bias": _OBJECT,
        "logprobs": _SWITCH,
        "max_completion_tokens": _WHOLE,
        "max_tokens": _WHOLE,
        "n": _WHOLE,
        "parallel_tool_calls": _SWITCH,
        "presence_penalty": _NUMBER,
        "reasoning_effort": _TEXT,
        "response_format": _OBJECT,
        "seed": _WHOLE,
        "service_tier": _TEXT,
        "stop": (*_TEXT, *_LIST),
        "temperature": _NUMBER,
        "tool_choice": (*_TEXT, *_OBJECT),
        "tools": _LIST,
        "top_logprobs": _WHOLE,
        "top_p": _NUMBER,
        "user": _TEXT,
        "verbosity": _TEXT,
    }
)
_NAMES: Final[Mapping[type, str]] = MappingProxyType(
    {
        bool: "true or false",
        dict: "an object",
        float: "a number",
        int: "a whole number",
        list: "a list",
        str: "a string",
    }
)
# Only what no server takes: how much is too much is for the provider to say. Some servers
# take -1 tokens as "no limit".
_LEAST: Final[Mapping[str, int]] = MappingProxyType(
    {"max_completion_tokens": 1, "max_tokens": 1, "temperature": 0, "top_logprobs": 0, "top_p": 0}
)
_UNLIMITED: Final = frozenset({"max_completion_tokens", "max_tokens"})
CHAT_PARAMS: Final = frozenset(_KINDS)
OWNED: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Gateways (LiteLLM, OpenRouter) read these from the body to call another server or model.
        "api_base": "only the operator sets a provider's URL",
        "api_key": "inferd sends the operator's key",
        "base_url": "only the operator sets a provider's URL",
        "extra_body": "put its members into `params`",
        "extra_headers": "headers of the caller are not passed on",
        "extra_query": "query parameters of the caller are not passed on",
        "fallbacks": "a job is for one model, its `model`",
        "messages": "put them into `input`",
        "model": "it is the job's `model`",
        "models": "a job is for one model, its `model`",
        "stream": "a job's answer is stored whole; follow the job's events instead",
        "stream_options": "a job's answer is stored whole; follow the job's events instead",
    }
)
_MOST_PASSED_ON: Final = 64
_LONGEST_NAME: Final = 64
_MOST_BYTES: Final = 65_536
_DEEPEST: Final = 16


def check_chat_params(params: Mapping[str, JsonValue]) -> None:
    """Raises InvalidParameter for a param that inferd sets itself, or that has the wrong type or size."""
    _check_one_answer(params)
    for name, value in params.items():
        # Servers written in Go, such as Ollama, accept a name in any case.
        if (plain := name.strip().lower()) in OWNED:
            shown = name[:_LONGEST_NAME]
            raise InvalidParameter(f"`{shown}` is set by inferd: {OWNED[plain]}.", param=f"params.{shown}")
        if name in _KINDS:
            _check_kind(name, value)
    _check_passed_on({name: value for name, value in params.items() if name not in _KINDS})


def check_known_params(params: Mapping[str, JsonValue], known: Iterable[str]) -> None:
    """Raises InvalidParameter for an unknown name, with the nearest known one, and for `n` above 1."""
    names = sorted(known)
    for name in params:
        if name not in names:
            shown = name[:_LONGEST_NAME]
            nearest = get_close_matches(shown, names, 1)
            hint = f"did you mean `{nearest[0]}`?" if nearest else f"the known ones are {', '.join(names)}."
            raise InvalidParameter(f"Unknown param `{shown}`: {hint}", param=f"params.{shown}")
    _check_one_answer(params)


def _check_kind(name: str, value: JsonValue) -> None:
    kinds = _KINDS[name]
    # In Python, True is an int.
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if value is not None and not fits:
        wanted = " or ".join(_NAMES[kind] for kind in kinds if kind is not int or float not in kinds)
        raise InvalidParameter(f"`{name}` must be {wanted}.", param=f"params.{name}")
    least = _LEAST.get(name)
    if name in _UNLIMITED and value == -1:
        return
    if least is not None and isinstance(value, int | float) and value < least:
        raise InvalidParameter(f"`{name}` must be at least {least}.", param=f"params.{name}")


def _check_passed_on(params: Mapping[str, JsonValue]) -> None:
    if len(params) > _MOST_PASSED_ON:
        raise InvalidParameter(f"A job may set at most {_MOST_PASSED_ON} params besides OpenAI's.", param="params")
    for name, value in params.items():
        shown = name[:_LONGEST_NAME]
        if not name or name != shown or not name.isprintable():
            problem = f"a param's name has 1 to {_LONGEST_NAME} printable characters"
        elif _depth(value) > _DEEPEST:
            problem = f"it is nested deeper than {_DEEPEST} levels"
        else:
            continue
        raise InvalidParameter(f"`{shown}` can't be passed on: {problem}.", param=f"params.{shown}")
    if params and len(orjson.dumps(dict(params))) > _MOST_BYTES:
        raise InvalidParameter(
            f"The params besides OpenAI's are larger than {_MOST_BYTES} bytes together.", param="params"
        )


def _depth(value: JsonValue) -> int:
    """Returns the levels of nested lists and objects; it stops counting one above the limit."""
    level: list[JsonValue] = [value]
    depth = 0
    while level and depth <= _DEEPEST:
        inner = [list(each.values()) if isinstance(each, dict) else each for each in level]
        level = [member for each in inner if isinstance(each, list) for member in each]
        depth += any(isinstance(each, list) for each in inner)
    return depth


def _check_one_answer(params: Mapping[str, JsonValue]) -> None:
    n = params.get("n")
    if n is not None and (isinstance(n, bool) or n != 1):
        raise InvalidParameter("A job returns one answer: leave `n` out, or submit several jobs.", param="params.n")
