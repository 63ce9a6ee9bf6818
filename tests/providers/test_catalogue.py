"""Models find their providers, and whoever asks for another one is told the nearest."""

import subprocess
import sys
from collections.abc import Mapping
from functools import partial

import pytest
from pydantic import JsonValue

from core.domain.errors import InvalidParameter
from core.domain.inference import InferenceRequest, InferenceResult
from core.providers.catalogue import Catalogue, Source, open_catalogue
from core.providers.echo import MODELS, Echo
from core.providers.openai_compatible import OpenAICompatible
from core.providers.params import CHAT_PARAMS
from core.settings import Settings, SettingsError

SERVER = "http://127.0.0.1:9/v1"


def nested(levels: int) -> JsonValue:
    value: JsonValue = 1
    for level in range(levels):
        value = [value] if level % 2 else {"in": value}
    return value


def settings(**more: object) -> Settings:
    values: dict[str, object] = {"database": {"url": "postgresql://x"}, "redis": {"url": "redis://x"}, **more}
    return Settings.model_validate(values)


def message_of(catalogue: Catalogue, model: str) -> str:
    with pytest.raises(InvalidParameter) as caught:
        catalogue.resolve(model)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    return caught.value.message


def test_a_plain_setup_has_echo_alone() -> None:
    catalogue = open_catalogue(settings())

    assert [entry.id for entry in catalogue.models()] == sorted(f"echo/{name}" for name in MODELS)
    assert {entry.provider for entry in catalogue.models()} == {"echo"}
    provider, name = catalogue.resolve("echo/flaky")
    assert isinstance(provider, Echo)
    assert name == "flaky"


async def test_each_setting_adds_its_provider() -> None:
    catalogue = open_catalogue(
        settings(
            openai_api_key="a",
            openrouter_api_key="b",
            huggingface_token="c",
            local_base_url=SERVER,
            local_api_key="d",
            echo_enabled=False,
            providers={"vllm": {"base_url": SERVER, "models": ["qwen/qwen3:8b"]}},
        )
    )

    assert [entry.id for entry in catalogue.models()] == ["local/smollm2-135m", "vllm/qwen/qwen3:8b"]
    found = {}
    for model in ("openai/gpt-5", "openrouter/meta/llama:free", "hf/a/b", "local/smollm2-135m", "vllm/qwen/qwen3:8b"):
        provider, name = catalogue.resolve(model)
        assert isinstance(provider, OpenAICompatible)
        assert name == model.partition("/")[2]
        found[model.partition("/")[0]] = (provider._endpoint.base_url, provider._key)
    assert found == {
        "openai": ("https://api.openai.com/v1", "a"),
        "openrouter": ("https://openrouter.ai/api/v1", "b"),
        "hf": ("https://router.huggingface.co/v1", "c"),
        "local": (SERVER, "d"),
        "vllm": (SERVER, ""),
    }
    await catalogue.aclose()


async def test_the_operators_entry_wins_over_a_preset() -> None:
    catalogue = open_catalogue(
        settings(openai_api_key="a", providers={"openai": {"base_url": SERVER, "concurrency": 3}})
    )

    provider, _ = catalogue.resolve("openai/gpt-5")
    assert isinstance(provider, OpenAICompatible)
    assert (provider._endpoint.base_url, provider._endpoint.concurrency, provider._key) == (SERVER, 3, "")
    await catalogue.aclose()


def test_a_provider_is_built_once() -> None:
    built: list[Echo] = []

    def build() -> Echo:
        built.append(Echo())
        return built[-1]

    catalogue = Catalogue({"one": Source(build, lambda _name, _params: None)})
    catalogue.validate("one/a", {})
    assert built == []
    catalogue.warm()
    assert catalogue.resolve("one/a")[0] is catalogue.resolve("one/b")[0] is built[0]
    assert len(built) == 1


@pytest.mark.parametrize(
    "model",
    [
        "",
        "echo",
        "/echo",
        "echo/",
        "Echo/echo",
        "echo//echo",
        "echo/e cho",
        "http://evil/x",
        "https://evil/x",
        "echo/échō",
        "echo/echo\n",
        "e/" + "x" * 200,
        "echo/a?b",
        "1echo/x",
    ],
)
def test_what_is_not_provider_and_name_is_refused(model: str) -> None:
    assert "is not a model id; write it as provider/name" in message_of(open_catalogue(settings()), model)


def test_the_nearest_names_are_told() -> None:
    catalogue = open_catalogue(settings(local_base_url=SERVER))

    assert "nearest: echo/flaky" in message_of(catalogue, "echo/flacky")
    assert "nearest: local/smollm2-135m" in message_of(catalogue, "smollm2")
    assert "There is no provider `ecko`; nearest: echo/echo" in message_of(catalogue, "ecko/echo")


def test_a_missing_key_is_named_and_what_needs_none() -> None:
    message = message_of(open_catalogue(settings(local_base_url=SERVER)), "openai/gpt-5")

    assert "The provider `openai` is not configured: set INFERD_OPENAI_API_KEY" in message
    assert "available here, among others: echo/echo, local/smollm2-135m" in message
    assert "set INFERD_LOCAL_BASE_URL" in message_of(open_catalogue(settings()), "local/smollm2-135m")


@pytest.mark.parametrize(
    ("model", "params", "param", "words"),
    [
        ("openai/gpt-5", {"stream": True}, "params.stream", "`stream` is set by inferd: "),
        ("openai/gpt-5", {"messages": []}, "params.messages", "put them into `input`"),
        ("openai/gpt-5", {"model": "gpt-4"}, "params.model", "it is the job's `model`"),
        ("openai/gpt-5", {"extra_body": {"top_k": 1}}, "params.extra_body", "put its members into `params`"),
        ("openai/gpt-5", {"stream_options": {}}, "params.stream_options", "is set by inferd"),
        ("openai/gpt-5", {"models": ["openai/gpt-5-pro"]}, "params.models", "a job is for one model"),
        ("openai/gpt-5", {"Stream": True}, "params.Stream", "is set by inferd"),
        ("openai/gpt-5", {"api_base": "http://10.0.0.1/"}, "params.api_base", "is set by inferd"),
        ("openai/gpt-5", {"extra_headers": {"a": "b"}}, "params.extra_headers", "is set by inferd"),
        ("openai/gpt-5", {"temperature": "hot"}, "params.temperature", "`temperature` must be a number."),
        ("openai/gpt-5", {"max_tokens": 1.5}, "params.max_tokens", "must be a whole number."),
        ("openai/gpt-5", {"max_tokens": True}, "params.max_tokens", "must be a whole number."),
        ("openai/gpt-5", {"logprobs": 1}, "params.logprobs", "must be true or false."),
        ("openai/gpt-5", {"stop": 7}, "params.stop", "must be a string or a list."),
        ("openai/gpt-5", {"x" * 65: 1}, "params." + "x" * 64, "1 to 64 printable characters"),
        ("openai/gpt-5", {"a\nb": 1}, "params.a\nb", "1 to 64 printable characters"),
        ("openai/gpt-5", {f"p{number}": 1 for number in range(65)}, "params", "at most 64 params"),
        ("openai/gpt-5", {"grammar": "x" * 65_536}, "params", "larger than 65536 bytes"),
        ("openai/gpt-5", {"deep": nested(17)}, "params.deep", "nested deeper than 16 levels"),
        ("echo/echo", {"zzz": 1}, "params.zzz", "the known ones are "),
        ("echo/echo", {"top_k": 1}, "params.top_k", "did you mean `top_p`"),
        ("openai/gpt-5", {"n": 2}, "params.n", "one answer"),
        ("openai/gpt-5", {"n": True}, "params.n", "one answer"),
        ("echo/echo", {"delay_second": 1}, "params.delay_second", "did you mean `delay_seconds`"),
        ("echo/echo", {"delay_seconds": "x"}, "params.delay_seconds", "`delay_seconds` is wrong"),
    ],
)
def test_wrong_params_are_refused_at_submit(model: str, params: dict[str, JsonValue], param: str, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        open_catalogue(settings(openai_api_key="a")).validate(model, params)

    assert (caught.value.code, caught.value.param) == ("invalid_parameter", param)
    assert words in caught.value.message


def test_right_params_pass() -> None:
    catalogue = open_catalogue(settings(openai_api_key="a"))

    right: list[tuple[str, dict[str, JsonValue]]] = [
        ("openai/gpt-5", {**dict.fromkeys(CHAT_PARAMS), "n": 1}),
        ("openai/gpt-5", {"temperature": 1, "top_p": 0.5, "stop": "\n", "tool_choice": {"type": "function"}}),
        # What vLLM, Ollama and llama.cpp know, and OpenAI does not.
        ("openai/gpt-5", {"top_k": 40, "chat_template_kwargs": {"enable_thinking": False}, "deep": nested(16)}),
        ("echo/echo", {"temperature": 0.2, "delay_seconds": 1, "fail_times": 2}),
    ]
    for model, params in right:
        catalogue.validate(model, params)
        # It is the params that pass, not that nobody looks at them.
        with pytest.raises(InvalidParameter):
            catalogue.validate(model, {**params, "n": 2})


@pytest.mark.parametrize(
    "url", ["", "gpu:8000", "ftp://gpu/v1", "http://", "http://[::", "http://gpu:99999/v1", "file:///etc/passwd"]
)
def test_an_address_that_cant_be_called_stops_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match=r"INFERD_PROVIDERS \(vllm.base_url\)"):
        open_catalogue(settings(providers={"vllm": {"base_url": url}}))
    with pytest.raises(SettingsError, match="INFERD_LOCAL_BASE_URL"):
        open_catalogue(settings(local_base_url=url))


async def test_closing_closes_every_provider_even_after_one_fails() -> None:
    closed: list[str] = []

    class Closing(Echo):
        def __init__(self, name: str) -> None:
            self.name = name

        async def infer(self, request: InferenceRequest) -> InferenceResult:
            raise NotImplementedError

        async def aclose(self) -> None:
            closed.append(self.name)
            raise ConnectionError(self.name)

    def check(_name: str, _params: Mapping[str, JsonValue]) -> None:
        """Anything goes."""

    catalogue = Catalogue({name: Source(partial(Closing, name), check) for name in "ab"})
    catalogue.warm()
    with pytest.raises(ConnectionError):
        await catalogue.aclose()

    assert sorted(closed) == ["a", "b"]


def test_validating_loads_no_sdk() -> None:
    script = (
        "import sys; from core.providers.catalogue import open_catalogue; from core.settings import Settings; "
        "s = Settings(_env_file=None, database={'url': 'x'}, redis={'url': 'x'}, openai_api_key='k'); "
        "open_catalogue(s).validate('openai/gpt-5', {'temperature': 1}); assert 'openai' not in sys.modules"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
