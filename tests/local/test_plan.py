"""What the API and the workers of `inferd serve` see: the user's settings, on this command's servers."""

import asyncio
from pathlib import Path

import pytest

from cli.configuration import storeless_settings
from core.settings import Settings, load_settings
from local.embedded.supervisor import EmbeddedServers
from local.plan import Plan, child_environment, grace_seconds

MASTER_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(autouse=True)
def _in_a_folder_without_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def environment(settings: Settings, given: dict[str, str], *, with_model: bool = True) -> dict[str, str]:
    async def servers() -> EmbeddedServers:
        return EmbeddedServers(
            database_url="postgresql://app",
            owner_url="postgresql://owner",
            redis_url="unix:///valkey",
            local_base_url="http://127.0.0.1:9/v1" if with_model else None,
            local_api_key="model-key" if with_model else None,
            versions={},
            startup_seconds={},
            recovered=(),
            _died=asyncio.get_running_loop().create_future(),
        )

    stores = load_settings(database={"url": "postgresql://app"}, redis={"url": "unix:///valkey"}, master_key=MASTER_KEY)
    plan = Plan(settings, given, Path.cwd(), "127.0.0.1", 8701)
    return child_environment(plan, asyncio.run(servers()), stores)


def test_what_the_user_leaves_open_suits_one_machine() -> None:
    seen = environment(storeless_settings(), {"PATH": "/bin"})
    assert seen == {
        "PATH": "/bin",
        "INFERD_DATABASE_URL": "postgresql://app",
        "INFERD_DATABASE_OWNER_URL": "",
        "INFERD_REDIS_URL": "unix:///valkey",
        "INFERD_API_HOST": "127.0.0.1",
        "INFERD_API_PORT": "8701",
        "INFERD_LOCAL_BASE_URL": "http://127.0.0.1:9/v1",
        "INFERD_LOCAL_API_KEY": "model-key",
        "INFERD_MASTER_KEY": MASTER_KEY,
        "INFERD_WORKER_DRAIN_SECONDS": "0.5",
        "INFERD_API_SHUTDOWN_SECONDS": "1",
        "INFERD_WEBHOOK_ALLOW_HTTP": "true",
        "INFERD_WEBHOOK_ALLOW_CIDRS": '["127.0.0.0/8"]',
    }


def test_the_users_variables_win_but_for_the_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "INFERD_DATABASE_URL": "postgresql://production",
        "inferd_redis_url": "redis://production",
        "INFERD_DATABASE_OWNER_URL": "postgresql://production-owner",
        "INFERD_WORKER_DRAIN_SECONDS": "20",
        "INFERD_OPENAI_API_KEY": "sk",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = storeless_settings()
    seen = environment(settings, given)
    assert (seen["INFERD_WORKER_DRAIN_SECONDS"], seen["INFERD_OPENAI_API_KEY"]) == ("20", "sk")
    assert not [value for value in seen.values() if "production" in value]
    assert grace_seconds(settings) > 20


def test_what_a_dotenv_file_says_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("INFERD_WEBHOOK_ALLOW_HTTP=false\n")
    seen = environment(storeless_settings(), {})
    assert "INFERD_WEBHOOK_ALLOW_HTTP" not in seen
    assert "INFERD_WEBHOOK_ALLOW_CIDRS" in seen


def test_a_model_server_of_the_users_own_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_LOCAL_BASE_URL", "http://gpu/v1")
    seen = environment(storeless_settings(), {"INFERD_LOCAL_BASE_URL": "http://gpu/v1"}, with_model=False)
    assert seen["INFERD_LOCAL_BASE_URL"] == "http://gpu/v1"


def test_everything_stops_within_three_seconds_unless_the_user_wants_a_longer_drain() -> None:
    assert grace_seconds(storeless_settings()) < 3
