"""Validates a chat completion: a body that is not a usable answer becomes a Fault.

The adapters call it with the parsed body, whole or joined from a stream. The SDKs check none of this: they accept a 200
with an error inside, an HTML page or an empty list of choices.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from core.domain.inference import InferenceResult, Usage
from core.domain.transitions import Billed
from core.providers.faults import Fault, FaultCode

_UNKNOWN: Final = "unknown"
_MOST_TOKENS: Final = 2**31 - 1


def read_answer(body: JsonValue, *, model: str, request_id: str | None = None) -> InferenceResult:
    """Returns the first choice; `model` is the requested name, used when the body names none. Raises Fault."""
    if not isinstance(body, dict):
        raise Fault(FaultCode.ANSWER_MALFORMED, detail="not a JSON object")
    usage = read_usage(body.get("usage"))
    billed: Billed = "yes" if usage.output_tokens else "maybe"
    choice = _first_choice(body.get("choices"), billed)
    message = choice.get("message")
    if message is None:
        raise Fault(FaultCode.ANSWER_EMPTY, detail="no message", billed=billed)
    if not isinstance(message, dict):
        raise Fault(FaultCode.ANSWER_MALFORMED, detail="message is not an object", billed=billed)
    reason = choice.get("finish_reason")
    finish_reason = reason if isinstance(reason, str) and reason else _UNKNOWN
    answered_by = body.get("model")
    return InferenceResult(
        text=_text(message, finish_reason, billed),
        message=message,
        finish_reason=finish_reason,
        model=answered_by if isinstance(answered_by, str) and answered_by else model,
        usage=usage,
        provider_request_id=request_id,
    )


def read_usage(usage: JsonValue) -> Usage:
    """Returns the token counts that are valid. An answer is not rejected for a malformed `usage`: it was paid for."""
    if not isinstance(usage, dict):
        return Usage()
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def text_of(content: JsonValue) -> str | None:
    """Returns the text of a message's content, which is a string or a list of parts; None when it is neither."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _first_choice(choices: JsonValue, billed: Billed) -> Mapping[str, JsonValue]:
    if choices is None or choices == []:
        raise Fault(FaultCode.ANSWER_EMPTY, detail="no choices", billed=billed)
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise Fault(FaultCode.ANSWER_MALFORMED, detail="choices is not a list of objects", billed=billed)
    return choices[0]


def _text(message: Mapping[str, JsonValue], finish_reason: str, billed: Billed) -> str:
    content = message.get("content")
    text = text_of(content)
    if text is None and content is not None:
        raise Fault(FaultCode.ANSWER_MALFORMED, detail="content is neither text nor parts", billed=billed)
    calls = message.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise Fault(FaultCode.ANSWER_MALFORMED, detail="tool_calls is not a list of objects", billed=billed)
    says_something = text or calls or message.get("function_call") or message.get("refusal")
    if finish_reason == "content_filter" and not says_something:
        raise Fault(FaultCode.CONTENT_FILTERED, billed=billed)
    if finish_reason == "error":
        raise Fault(FaultCode.PROVIDER_ERROR, detail="finish_reason is error", billed=billed)
    # A model that spent its token limit on reasoning has no text; a retry would cost the same and end the same.
    if text is None and not says_something and finish_reason != "length":
        raise Fault(FaultCode.ANSWER_EMPTY, detail="no content", billed=billed)
    return text or ""


def _count(members: JsonValue, name: str) -> int | None:
    value = members.get(name) if isinstance(members, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    # The columns hold 32 bits; a wrong count is no reason to reject an answer that was paid for.
    return min(value, _MOST_TOKENS)
