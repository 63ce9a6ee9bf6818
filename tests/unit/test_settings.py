"""Settings: what they read, what they refuse, and that every refusal names its variable and shows no value."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from core.settings import PREFIX, Settings, SettingsError, load_settings, unknown_variables, variables
from tests.support.explicit_settings import ExplicitSettings, environment_of

NEEDED = {
    "INFERD_DATABASE_URL": "postgresql://inferd:hunter2@db:5432/inferd",
    "INFERD_REDIS_URL": "redis://:hunter3@redis:6379/0",
}
MASTER_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell without our variables, in a folder without a .env."""
    monkeypatch.chdir(tmp_path)
    for name in variables():
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def refusal() -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings()
    return str(refused.value)


@pytest.mark.usefixtures("needed")
def test_two_variables_are_enough() -> None:
    settings = load_settings()

    assert settings.database.url.get_secret_value() == NEEDED["INFERD_DATABASE_URL"]
    assert settings.redis.url.get_secret_value() == NEEDED["INFERD_REDIS_URL"]
    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8700)
    assert (settings.master_key, settings.openai_api_key, settings.providers) == (None, None, {})


def test_exactly_two_variables_are_needed_and_no_secret_has_a_default() -> None:
    assert {name for name, (_, _, required) in variables().items() if required} == set(NEEDED)
    assert not [name for name, (_, default, _) in variables().items() if isinstance(default, SecretStr)]
    assert all(description for description, _, _ in variables().values())


def test_every_missing_variable_is_named_at_once() -> None:
    message = refusal()

    assert "INFERD_DATABASE_URL: is not set" in message
    assert "INFERD_REDIS_URL: is not set" in message


def test_a_group_that_is_half_set_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_REDIS_URL", NEEDED["INFERD_REDIS_URL"])
    monkeypatch.setenv("INFERD_DATABASE_POOL_SIZE", "5")

    assert refusal().splitlines()[0] == "INFERD_DATABASE_URL: is not set"


@pytest.mark.usefixtures("needed")
def test_a_lease_that_one_late_heartbeat_would_lose_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_WORKER_HEARTBEAT_SECONDS", "3")

    assert refusal().startswith("INFERD_WORKER_LEASE_SECONDS (8) must be at least three times INFERD_WORKER_HEARTBEAT")


@pytest.mark.usefixtures("needed")
@pytest.mark.parametrize(
    ("small", "large", "value"),
    [
        ("INFERD_JOB_RETRY_INITIAL_SECONDS (1)", "INFERD_JOB_RETRY_MAX_SECONDS", "0.5"),
        ("INFERD_JOB_TIMEOUT_SECONDS (600)", "INFERD_JOB_MAX_TIMEOUT_SECONDS", "300"),
    ],
)
def test_a_default_above_its_limit_is_refused(
    small: str, large: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(large, value)

    assert refusal().startswith(f"{small} must not be larger than {large} ({value}); set both")


@pytest.mark.usefixtures("needed")
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("INFERD_API_PORT", "eighty", "must be a whole number"),
        ("INFERD_API_PORT", "65536", "must be less than or equal to 65535"),
        ("INFERD_API_PROT", "8700", "the nearest is INFERD_API_PORT"),
        ("INFERD_API", "nonsense", "parsing"),
        ("INFERD_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("INFERD_REDIS_PREFIX", "Has Spaces", "match pattern"),
        ("INFERD_ECHO_ENABLED", "perhaps", "must be true or false"),
        ("INFERD_WORKER_LEASE_SECONDS", "0", "greater than or equal to 1"),
        ("INFERD_WEBHOOK_ALLOW_CIDRS", "10.0.0.0/8", 'such as ["10.0.0.0/8"]'),
        ("INFERD_WEBHOOK_ALLOW_CIDRS", '["10.0.0.1/8"]', "IPv4 network"),
        ("INFERD_MASTER_KEY", "not base64!", "openssl rand -base64 32"),
        ("INFERD_MASTER_KEY", "c2hvcnQ=", "exactly 32 bytes"),
        ("INFERD_PROVIDERS", "{broken", "must be JSON"),
        ("INFERD_PROVIDERS", '["vllm"]', "must be a JSON object"),
        ("INFERD_PROVIDERS", '{"vllm": {}}', "(vllm.base_url): is not set"),
        ("INFERD_PROVIDERS", '{"Bad Name": {"base_url": "http://gpu"}}', "has only lowercase letters"),
        (
            "INFERD_PROVIDERS",
            '{"vllm": {"base_url": "http://gpu", "key": "sk-1"}}',
            "(vllm.key): there is no such field",
        ),
        ("INFERD_PROVIDERS", '{"vllm": {"base_url": "http://gpu", "retry": 3}}', "(vllm.retry): must be a JSON object"),
        (
            "INFERD_PROVIDERS",
            '{"vllm": {"base_url": "http://gpu", "retry": {"initial_seconds": 9, "max_seconds": 1}}}',
            "(vllm.retry): `initial_seconds` must not be larger",
        ),
        ("INFERD_WEBHOOK_RETRY_SECONDS", "5", "must be a JSON list"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(name, value)

    message = refusal()

    assert message.startswith(name)
    assert problem in message
    assert ".env.example" in message
    assert "hunter" not in message
    assert "sk-1" not in message
    if name == "INFERD_MASTER_KEY":
        assert value not in message


@pytest.mark.usefixtures("needed")
def test_settings_are_frozen_at_every_depth() -> None:
    settings = load_settings()

    for group, name in ((settings, "echo_enabled"), (settings.api, "port")):
        with pytest.raises(ValidationError):
            setattr(group, name, 1)


@pytest.mark.usefixtures("needed")
def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFERD_API_PORT", "INFERD_MASTER_KEY", "INFERD_WORKER_METRICS_PORT", "INFERD_PROVIDERS"):
        monkeypatch.setenv(name, "")

    settings = load_settings()

    assert (settings.api.port, settings.master_key, settings.worker.metrics_port) == (8700, None, None)


def test_an_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [*(f"{name}={value}" for name, value in NEEDED.items()), "INFERD_API_PORT=9000", "INFERD_API_HOST=::1"]
    (tmp_path / ".env").write_text("\n".join([*lines, "UNRELATED=1", "INFERD_MASTER_KEY="]))
    monkeypatch.setenv("INFERD_API_PORT", "9001")

    settings = load_settings()

    assert (settings.api.host, settings.api.port) == ("::1", 9001)


@pytest.mark.usefixtures("needed")
def test_what_the_caller_says_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_API_PORT", "9001")
    monkeypatch.setenv("INFERD_API_HOST", "::1")

    settings = load_settings(api={"port": 0})

    assert (settings.api.host, settings.api.port) == ("::1", 0)


@pytest.mark.usefixtures("needed")
def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "INFERD_MASTER_KEY": MASTER_KEY,
        "INFERD_OPENAI_API_KEY": "sk-shown",
        "INFERD_SENTRY_DSN": "https://key-shown@sentry.example/1",
        "INFERD_PROVIDERS": '{"vllm": {"base_url": "http://gpu/v1", "api_key": "vllm-shown"}}',
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert not [secret for secret in ("hunter", "shown", MASTER_KEY) if secret in text]


def test_unknown_variables_are_told_with_the_nearest_known_one() -> None:
    environ = {"INFERD_API_PORT": "1", "INFERD_OPEN_API_KEY": "x", "INFERD_ZZZZZZ": "x", "PATH": "/bin"}

    assert unknown_variables(environ) == {"INFERD_OPEN_API_KEY": "INFERD_OPENAI_API_KEY", "INFERD_ZZZZZZ": None}


# A value other than the default for each variable that is no number and no switch.
GIVEN = {
    "INFERD_DATABASE_URL": "postgresql://a@b/c",
    "INFERD_DATABASE_OWNER_URL": "postgresql://o@b/c",
    "INFERD_REDIS_URL": "redis://r",
    "INFERD_REDIS_PREFIX": "mine",
    "INFERD_API_HOST": "::1",
    "INFERD_API_PUBLIC_URL": "https://public",
    "INFERD_API_URL": "https://url",
    "INFERD_API_KEY": "key",
    "INFERD_WORKER_METRICS_PORT": "9",
    "INFERD_WEBHOOK_RETRY_SECONDS": "[1.0, 2.5]",
    "INFERD_WEBHOOK_ALLOW_CIDRS": '["10.0.0.0/8", "fd00::/8"]',
    "INFERD_WEBHOOK_CA_FILE": "/ca.pem",
    "INFERD_LOG_LEVEL": "debug",
    "INFERD_LOG_FORMAT": "json",
    "INFERD_SENTRY_DSN": "https://key@sentry/1",
    "INFERD_SENTRY_ENVIRONMENT": "test",
    "INFERD_PROVIDERS": '{"vllm": {"base_url": "http://gpu/v1", "api_key": "k", "models": ["m"], "concurrency": 2, '
    '"max_answer_bytes": 5000, "retry": {"max_attempts": 3, "initial_seconds": 2.0, "max_seconds": 9.0}}}',
    "INFERD_OPENAI_API_KEY": "a",
    "INFERD_OPENROUTER_API_KEY": "b",
    "INFERD_HUGGINGFACE_TOKEN": "c",
    "INFERD_LOCAL_BASE_URL": "http://local",
    "INFERD_LOCAL_API_KEY": "d",
    "INFERD_MASTER_KEY": MASTER_KEY,
    "INFERD_DATA_DIR": "/data",
}


def other_value(name: str, default: object) -> str:
    match default:
        case bool():
            return str(not default).lower()
        case int():
            return str(default // 2)
        case float():
            return str(default / 2)
        case _:
            return GIVEN[name]


def value_of(settings: Settings, name: str) -> object:
    key = name.removeprefix(PREFIX).lower()
    group, _, member = key.partition("_")
    return getattr(settings, key) if key in Settings.model_fields else getattr(getattr(settings, group), member)


def test_every_documented_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is set to something else than its default; each has arrived; and a child process is handed the same."""
    environment = {name: other_value(name, default) for name, (_, default, _) in variables().items()}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert [name for name, (_, default, _) in variables().items() if value_of(settings, name) == default] == []
    assert environment_of(settings) == environment


@pytest.mark.usefixtures("needed")
def test_defaults_are_what_the_reference_says() -> None:
    settings = load_settings()

    for name, (_, default, required) in variables().items():
        if not required and name != "INFERD_DATA_DIR":
            assert value_of(settings, name) == default, name


def test_settings_of_the_tests_read_nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFERD_API_PORT", "9001")
    (tmp_path / ".env").write_text("INFERD_API_HOST=::1")

    settings = ExplicitSettings.model_validate({"database": {"url": "postgresql://x"}, "redis": {"url": "redis://x"}})

    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8700)
