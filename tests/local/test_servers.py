"""What the servers do while they run: real SQL, real Redis commands, a real model's answer, one command at a time."""

import json
import os

import aiohttp
import asyncpg
import pytest
from arq.connections import RedisSettings, create_pool
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from local.embedded.errors import InUse
from local.embedded.reset import reset
from local.embedded.supervisor import EmbeddedServers, run_embedded
from tests.local.conftest import Shared, modes_around


@pytest.fixture
def servers(shared: Shared) -> EmbeddedServers:
    return shared.servers


def url(value: str | None) -> str:
    assert value is not None
    return value


async def test_postgres_serves_a_durable_utf8_database_on_a_socket_only(servers: EmbeddedServers) -> None:
    connection = await asyncpg.connect(url(servers.owner_url))
    try:
        row = await connection.fetchrow(
            "SELECT current_database() AS name, current_setting('fsync') AS fsync, current_setting('listen_addresses') "
            "AS tcp, current_setting('max_connections')::int AS connections, current_setting('TimeZone') AS zone, "
            "current_setting('synchronous_commit') AS sync, current_setting('data_checksums') AS checksums, "
            "datlocprovider::text AS provider, datlocale AS locale, pg_encoding_to_char(encoding) AS encoding "
            "FROM pg_database WHERE datname = current_database()"
        )
        assert row is not None
        assert dict(row) == {
            "name": "inferd",
            "fsync": "on",
            "tcp": "",
            "connections": 200,
            "zone": "UTC",
            "sync": "on",
            "checksums": "on",
            "provider": "b",
            "locale": "C.UTF-8",
            "encoding": "UTF8",
        }
    finally:
        await connection.close()
    assert servers.versions["postgres"].startswith("18.")


async def test_the_app_role_logs_in_by_asyncpg_and_sqlalchemy_whatever_the_shell_says(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    owner = await asyncpg.connect(url(servers.owner_url))
    try:
        await owner.execute("CREATE ROLE inferd_app LOGIN")
        app = await asyncpg.connect(url(servers.database_url))
        assert await app.fetchval("SELECT current_user::text") == "inferd_app"
        await app.close()
        engine = create_async_engine(url(servers.database_url).replace("postgresql:", "postgresql+asyncpg:"))
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT current_user::text"))).scalar() == "inferd_app"
        await engine.dispose()
    finally:
        await owner.execute("DROP ROLE IF EXISTS inferd_app")
        await owner.close()


async def test_valkey_writes_everything_to_its_file_and_evicts_nothing(servers: EmbeddedServers) -> None:
    async with Redis.from_url(url(servers.redis_url)) as client:
        assert await client.ping()
        config = await client.config_get("appendonly", "appendfsync", "save", "maxmemory-policy", "port")
    assert config == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "port": "0",
    }


async def test_arq_takes_the_url(servers: EmbeddedServers) -> None:
    pool = await create_pool(RedisSettings.from_dsn(url(servers.redis_url)))
    assert await pool.ping()
    await pool.aclose()


async def ask(servers: EmbeddedServers, *, stream: bool) -> str:
    body = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": "Name three colours."}],
        "max_tokens": 12,
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }
    headers = {"authorization": f"Bearer {servers.local_api_key}"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{servers.local_base_url}/chat/completions", json=body, headers=headers) as response,
    ):
        assert response.status == 200
        return await response.text()


async def test_the_model_answers(servers: EmbeddedServers) -> None:
    answer = json.loads(await ask(servers, stream=False))
    assert answer["model"] == "smollm2-135m"
    assert answer["choices"][0]["message"]["content"].strip()
    assert 0 < answer["usage"]["completion_tokens"] <= 12


async def test_the_model_streams_and_counts(servers: EmbeddedServers) -> None:
    lines = [line[6:] for line in (await ask(servers, stream=True)).splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines[:-1]]
    assert lines[-1] == "[DONE]"
    assert sum(bool(choice["delta"].get("content")) for chunk in chunks for choice in chunk["choices"]) > 2
    assert chunks[-1]["usage"]["completion_tokens"] > 2


async def test_the_model_refuses_who_has_no_key(servers: EmbeddedServers) -> None:
    assert servers.local_api_key is not None
    assert servers.local_api_key not in repr(servers)
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{servers.local_base_url}/chat/completions", json={}) as response,
    ):
        assert response.status == 401


async def test_a_second_command_is_told_who_is_first(shared: Shared) -> None:
    with pytest.raises(InUse, match=f"process {os.getpid()}"):
        async with run_embedded(shared.data_dir):
            pytest.fail("two commands on one data directory")
    with pytest.raises(InUse):
        reset(shared.data_dir)


def test_nothing_outside_changed_its_mode_and_inside_is_closed(shared: Shared) -> None:
    now = modes_around([shared.data_dir])
    assert {path: now[path] for path in shared.before} == shared.before
    for path in (shared.data_dir / "embedded").rglob("*"):
        if not path.is_socket():
            assert path.stat().st_mode & 0o022 == 0, path
    # What others may do ends at the folder itself.
    assert (shared.data_dir / "embedded").stat().st_mode & 0o007 == 0
