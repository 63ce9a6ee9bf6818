"""The scripted provider does what its model's name and its params say, in the same way each time."""

import asyncio

import pytest
from pydantic import JsonValue

from core.domain.errors import InvalidParameter
from core.domain.ids import new_job_id
from core.domain.inference import InferenceRequest, InferenceResult, Usage
from core.providers.echo import MODELS, Echo, script_of
from core.providers.faults import Fault, FaultCode

C = FaultCode


def ask(
    model: str,
    params: dict[str, JsonValue] | None = None,
    *,
    attempt: int = 1,
    run_no: int = 1,
    timeout: float = 5.0,
) -> InferenceRequest:
    messages: tuple[dict[str, JsonValue], ...] = (
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "and the last one"}]},
    )
    return InferenceRequest(new_job_id(), model, messages, params or {}, attempt, run_no, timeout)


async def run(request: InferenceRequest) -> InferenceResult | Fault:
    try:
        return await Echo().infer(request)
    except Fault as fault:
        return fault


async def code(request: InferenceRequest) -> FaultCode | None:
    outcome = await run(request)
    return outcome.code if isinstance(outcome, Fault) else None


@pytest.mark.parametrize("model", ["echo", "stream"])
async def test_it_says_the_last_user_message_and_counts_words(model: str) -> None:
    result = await Echo().infer(ask(model))

    assert result.text == "and the last one"
    assert result.usage == Usage(input_tokens=8, output_tokens=4)
    assert (result.model, result.finish_reason) == (model, "stop")


async def test_flaky_succeeds_on_the_third_attempt() -> None:
    codes = [await code(ask("flaky", attempt=attempt, run_no=attempt)) for attempt in (1, 2, 3)]

    assert codes == [C.PROVIDER_ERROR, C.PROVIDER_ERROR, None]


async def test_rate_limited_counts_runs_because_a_snooze_refunds_the_attempt() -> None:
    assert [await code(ask("rate-limited", attempt=1, run_no=run_no)) for run_no in (1, 2)] == [C.RATE_LIMITED, None]


@pytest.mark.parametrize(
    ("model", "expected"), [("fail", C.INVALID_REQUEST), ("garbage", C.ANSWER_EMPTY), ("gpt-9", C.MODEL_NOT_FOUND)]
)
async def test_the_failing_ones_fail(model: str, expected: FaultCode) -> None:
    assert [await code(ask(model, attempt=attempt, run_no=attempt)) for attempt in (1, 5)] == [expected, expected]


@pytest.mark.parametrize(
    ("model", "params"), [("timeout", {}), ("slow", {}), ("echo", {"hang": True}), ("echo", {"delay_seconds": 9})]
)
async def test_waiting_ends_with_the_timeout(model: str, params: dict[str, JsonValue]) -> None:
    assert await code(ask(model, params, timeout=0.01)) is C.ATTEMPT_TIMEOUT


async def test_slow_is_slow_for_as_long_as_told() -> None:
    began = asyncio.get_running_loop().time()
    result = await Echo().infer(ask("slow", {"delay_seconds": 0.03}))

    assert result.text
    assert asyncio.get_running_loop().time() - began >= 0.03
    assert script_of("slow", {}).delay_seconds == 2


async def test_any_model_takes_any_script() -> None:
    outcome = await run(ask("echo", {"until_run": 3, "retry_after": 2.5, "fail_times": 1}, run_no=2))
    assert isinstance(outcome, Fault)
    assert (outcome.code, outcome.retry_after) == (C.RATE_LIMITED, 2.5)
    assert await code(ask("echo", {"until_run": 3, "fail_times": 1}, run_no=3)) is C.PROVIDER_ERROR
    assert await code(ask("flaky", {"fail_times": 0})) is None
    assert await code(ask("echo", {"fatal": True})) is C.INVALID_REQUEST
    assert await code(ask("echo", {"garbage": True})) is C.ANSWER_EMPTY


@pytest.mark.parametrize(
    "params",
    [
        {"delay_seconds": "2"},
        {"delay_seconds": -1},
        {"delay_seconds": True},
        {"fail_times": 1.5},
        {"fail_times": True},
        {"fatal": "yes"},
        {"hang": 1},
    ],
)
async def test_a_value_of_the_wrong_kind_is_refused(params: dict[str, JsonValue]) -> None:
    with pytest.raises(InvalidParameter) as caught:
        script_of("echo", params)

    assert caught.value.param == f"params.{next(iter(params))}"
    assert await code(ask("echo", params)) is C.INVALID_REQUEST


@pytest.mark.parametrize("model", MODELS)
def test_each_model_has_a_valid_script(model: str) -> None:
    assert script_of(model, {}) == MODELS[model]


async def test_no_user_message_is_an_empty_answer() -> None:
    request = InferenceRequest(new_job_id(), "echo", ({"role": "system", "content": "x"},), {}, 1, 1, 1.0)

    assert (await Echo().infer(request)).text == ""
