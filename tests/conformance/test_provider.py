"""One behaviour suite for all adapters: whatever core/providers/port.py promises, each of them keeps."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import pytest
from pydantic import JsonValue, SecretStr

from core.domain.ids import JobId, new_job_id
from core.domain.inference import InferenceRequest
from core.domain.retry import Disposition
from core.providers.echo import Echo
from core.providers.fault_codes import CODES, FaultCode
from core.providers.faults import Fault
from core.providers.local import local
from core.providers.openai_compatible import Endpoint, OpenAICompatible
from core.providers.port import Provider
from tests.conformance.fake_provider import FakeProvider

PROMPT = "the launch code of the moon base is 4711-tango"


@dataclass(frozen=True)
class Subject:
    """An adapter, and the model names by which it plays each scenario."""

    provider: Provider
    answers: str
    fails: str
    throttled: str
    refused: str
    garbage: str
    hangs: str

    def request(
        self,
        model: str,
        *,
        timeout: float = 5.0,
        attempt: int = 1,
        run_no: int = 1,
        job_id: JobId | None = None,
        **params: JsonValue,
    ) -> InferenceRequest:
        messages: tuple[Mapping[str, JsonValue], ...] = (
            {"role": "system", "content": "You echo."},
            {"role": "user", "content": PROMPT},
        )
        return InferenceRequest(job_id or new_job_id(), model, messages, params, attempt, run_no, timeout)


def _echo(_url: str) -> Subject:
    return Subject(Echo(), "echo", "flaky", "rate-limited", "fail", "garbage", "timeout")


def _by_http(build: Callable[[str], Provider]) -> Callable[[str], Subject]:
    return lambda url: Subject(build(url), "ok", "error", "rate-limited", "invalid", "choices-null", "hang")


ADAPTERS: dict[str, Callable[[str], Subject]] = {
    "echo": _echo,
    "openai_compatible": _by_http(lambda url: OpenAICompatible(Endpoint(url, SecretStr("sk-test"), concurrency=1000))),
    "openai_compatible, streaming": _by_http(
        lambda url: OpenAICompatible(Endpoint(url, SecretStr("sk-test"), concurrency=1000, stream_internally=True))
    ),
    "local": _by_http(lambda url: local(url, concurrency=1000)),
}


@pytest.fixture(params=ADAPTERS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with FakeProvider() as fake:
        subject = ADAPTERS[request.param](fake.base_url)
        yield subject
        await subject.provider.aclose()


async def fault(subject: Subject, request: InferenceRequest) -> Fault:
    with pytest.raises(Fault) as caught:
        await subject.provider.infer(request)
    return caught.value


async def test_an_answer_is_whole(subject: Subject) -> None:
    result = await subject.provider.infer(subject.request(subject.answers))

    assert result.text == PROMPT
    assert result.message["role"] == "assistant"
    assert result.message["content"] == PROMPT
    assert result.finish_reason == "stop"
    assert result.model
    assert result.provider_request_id
    assert result.usage.input_tokens
    assert result.usage.output_tokens


async def test_openai_params_are_taken(subject: Subject) -> None:
    request = subject.request(subject.answers, temperature=0.1, max_tokens=64, seed=7, stop=["\n"])

    assert (await subject.provider.infer(request)).text == PROMPT


@pytest.mark.parametrize(
    ("scenario", "disposition", "status"),
    [
        ("fails", Disposition.RETRY, 500),
        ("throttled", Disposition.SNOOZE, 429),
        ("refused", Disposition.GIVE_UP, 400),
        ("garbage", Disposition.RETRY, None),
    ],
)
async def test_a_failure_is_a_fault_of_its_class(
    subject: Subject, scenario: str, disposition: Disposition, status: int | None
) -> None:
    caught = await fault(subject, subject.request(getattr(subject, scenario)))

    assert caught.disposition is disposition
    assert caught.http_status == status
    assert caught.code in CODES
    failure = caught.failure()
    assert (failure.code, failure.error_class) == (caught.code.value, caught.fault_class.value)
    assert failure.billed == ("maybe" if scenario in {"fails", "garbage"} else "no")
    assert PROMPT not in failure.message


async def test_a_throttled_call_says_how_long(subject: Subject) -> None:
    caught = await fault(subject, subject.request(subject.throttled))

    assert caught.code is FaultCode.RATE_LIMITED
    assert caught.retry_after
    assert 1 <= caught.retry_after <= 7


async def test_the_timeout_is_the_whole_calls(subject: Subject) -> None:
    began = asyncio.get_running_loop().time()

    caught = await fault(subject, subject.request(subject.hangs, timeout=0.05))

    assert caught.code is FaultCode.ATTEMPT_TIMEOUT
    assert (caught.disposition, caught.billed) == (Disposition.RETRY, "maybe")
    assert asyncio.get_running_loop().time() - began < 2


async def test_cancellation_is_not_a_fault(subject: Subject) -> None:
    task = asyncio.create_task(subject.provider.infer(subject.request(subject.hangs)))
    asyncio.get_running_loop().call_later(0.05, task.cancel)

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_two_hundred_at_once_keep_their_answers_apart(subject: Subject) -> None:
    def request(number: int) -> InferenceRequest:
        message: dict[str, JsonValue] = {"role": "user", "content": f"number {number}"}
        return InferenceRequest(new_job_id(), subject.answers, (message,), {}, 1, 1, 30.0)

    results = await asyncio.gather(*(subject.provider.infer(request(number)) for number in range(200)))

    assert [result.text for result in results] == [f"number {number}" for number in range(200)]


async def test_it_closes_twice(subject: Subject) -> None:
    await subject.provider.infer(subject.request(subject.answers))
    await subject.provider.aclose()
    await subject.provider.aclose()
