"""The doctor says of each thing whether it is well, on real servers that are well and on real ones that are not."""

import json

import pytest
from pydantic import SecretStr

from cli.operate.checks.finding import Finding, Level
from cli.operate.checks.providers import check_providers
from cli.operate.checks.settings import check_settings
from cli.operate.checks.stores import check_database, check_redis
from core.queue.connect import connect
from core.settings import DatabaseSettings, RedisSettings, Settings
from tests.cli.conftest import Invoke
from tests.cli.scripted_api import ScriptedApi
from tests.conftest import MakeSettings
from tests.support.explicit_settings import environment_of
from tests.support.processes import RunningWorker
from tests.support.servers import owner_url
from tests.support.waiting import eventually

NOWHERE = "127.0.0.1:1"


def levels(findings: list[Finding]) -> dict[str, Level]:
    return {finding.name: finding.level for finding in findings}


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


async def test_a_migrated_database_is_well(settings: Settings) -> None:
    found = await check_database(settings)
    assert levels(found) == dict.fromkeys(("PostgreSQL", "PostgreSQL role", "migrations"), Level.OK)


async def test_an_empty_database_is_told_to_migrate(
    empty_database: DatabaseSettings, make_settings: MakeSettings
) -> None:
    empty = empty_database.model_copy(update={"url": SecretStr(owner_url(empty_database))})
    found = {finding.name: finding for finding in await check_database(make_settings(database=empty))}
    assert found["migrations"].level is Level.FAIL
    assert "inferd migrate" in found["migrations"].message


async def test_a_database_that_is_away_is_said_to_be_without_its_password(make_settings: MakeSettings) -> None:
    away = DatabaseSettings(url=SecretStr(f"postgresql://inferd:hunter2@{NOWHERE}/inferd"))
    finding = only(await check_database(make_settings(database=away)))
    assert finding.level is Level.FAIL
    assert "does not answer" in finding.message
    assert "hunter2" not in finding.message


async def test_a_redis_that_is_well_and_has_a_worker(settings: Settings, worker: RunningWorker) -> None:
    async def all_well() -> bool:
        return set(levels(await check_redis(settings)).values()) == {Level.OK}

    await eventually(all_well, what="the worker listens")


async def test_a_redis_without_workers_is_a_warning(settings: Settings) -> None:
    assert levels(await check_redis(settings)) == {
        "Redis": Level.OK,
        "Redis memory": Level.OK,
        "Redis writes": Level.OK,
        "workers": Level.WARN,
    }


async def test_a_redis_that_evicts_fails(settings: Settings) -> None:
    redis = connect(settings.redis)
    try:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        found = {finding.name: finding for finding in await check_redis(settings)}
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.aclose(close_connection_pool=True)
    assert found["Redis memory"].level is Level.FAIL
    assert "allkeys-lru" in found["Redis memory"].message


async def test_a_redis_that_is_away_fails_without_its_password(settings: Settings) -> None:
    away = RedisSettings(url=SecretStr(f"redis://:hunter2@{NOWHERE}/0"))
    finding = only(await check_redis(settings.model_copy(update={"redis": away})))
    assert (finding.name, finding.level) == ("Redis", Level.FAIL)
    assert "hunter2" not in finding.message


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (200, Level.OK, "responds"),
        (401, Level.FAIL, "refuses its key"),
        (403, Level.FAIL, "refuses its key"),
        (404, Level.WARN, "end in /v1"),
        (302, Level.WARN, "HTTP 302"),
        (503, Level.WARN, "HTTP 503"),
    ],
)
async def test_a_provider_is_judged_by_its_answer(
    status: int, level: Level, words: str, api: ScriptedApi, make_settings: MakeSettings
) -> None:
    api.say("GET", "/v1/models", status, {})
    settings = make_settings(
        providers={"vllm": {"base_url": f"{api.url}/v1/", "api_key": "secret"}}, echo_enabled=False
    )
    finding = only(await check_providers(settings))
    assert (finding.name, finding.level) == ("provider vllm", level)
    assert words in finding.message
    assert api.asked[0].headers["authorization"] == "Bearer secret"


async def test_a_provider_that_is_away_fails(make_settings: MakeSettings) -> None:
    settings = make_settings(local_base_url=f"http://{NOWHERE}/v1")
    assert levels(await check_providers(settings)) == {"provider local": Level.FAIL, "provider echo": Level.OK}


async def test_no_provider_at_all_fails(make_settings: MakeSettings) -> None:
    assert only(await check_providers(make_settings(echo_enabled=False))).level is Level.FAIL


def test_settings_that_are_well_formed_can_still_be_wrong(make_settings: MakeSettings) -> None:
    good = make_settings(master_key="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    assert levels(check_settings(good)) == {"settings": Level.OK}
    assert levels(check_settings(make_settings())) == {"master key": Level.WARN}
    assert levels(check_settings(make_settings(local_base_url="nowhere")))["settings"] is Level.FAIL


def test_the_command_fails_when_a_check_does(
    settings: Settings, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    well = invoke("doctor")
    assert well.exit_code == 0
    assert "ok    migrations" in well.stdout
    monkeypatch.setenv("INFERD_REDIS_URL", f"redis://{NOWHERE}")
    ill = invoke("doctor", "-o", "json")
    assert ill.exit_code == 1
    assert [each["name"] for each in json.loads(ill.stdout) if each["level"] == "fail"] == ["Redis"]


def test_missing_settings_are_findings_too(invoke: Invoke) -> None:
    outcome = invoke("doctor")
    assert outcome.exit_code == 1
    assert "fail  settings             INFERD_DATABASE_URL: is not set" in outcome.stdout
    assert "inferd serve" in outcome.stderr
