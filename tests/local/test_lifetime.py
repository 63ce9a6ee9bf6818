"""Starting, stopping, dying and starting again: data stays, nothing stays running."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from local.embedded.errors import ServerDied, WrongVersion
from local.embedded.folders import lay_out, make_root
from local.embedded.leftovers import Identity, identity_of, record, stop_leftovers
from local.embedded.supervisor import run_embedded
from tests.local.conftest import Run, alive

FAST = {"fsync": "off"}


async def until_gone(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def test_data_survives_a_stop(used_dir: Path) -> None:
    async with run_embedded(used_dir, with_model=False, postgres_settings=FAST) as first:
        assert first.owner_url is not None
        assert first.redis_url is not None
        assert first.local_base_url is None
        connection = await asyncpg.connect(first.owner_url)
        await connection.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 'grün' AS word")
        async with Redis.from_url(first.redis_url) as client:
            await client.set("kept", "1")
        # A connection left open must not hold up the stop.
    await connection.close(timeout=1)

    async with run_embedded(used_dir, with_model=False, postgres_settings=FAST) as second:
        assert second.recovered == ()
        connection = await asyncpg.connect(second.owner_url)
        assert await connection.fetchval("SELECT word FROM kept") == "grün"
        await connection.close()
        async with Redis.from_url(str(second.redis_url)) as client:
            assert await client.get("kept") == b"1"


async def test_each_server_can_be_left_out(data_dir: Path) -> None:
    async with run_embedded(data_dir, with_model=False, with_postgres=False) as servers:
        assert (servers.database_url, servers.owner_url, servers.local_base_url) == (None, None, None)
        assert set(servers.versions) == {"valkey"}


async def test_a_server_that_dies_is_reported_with_its_last_words(data_dir: Path) -> None:
    async with run_embedded(data_dir, with_model=False, with_postgres=False) as servers:
        failure = asyncio.create_task(servers.failure())
        async with Redis.from_url(str(servers.redis_url)) as client:
            pid = (await client.info("server"))["process_id"]
            os.kill(pid, signal.SIGTERM)
            with pytest.raises(ServerDied, match=r"Valkey ended with status 0(.|\n)*bye bye"):
                await asyncio.wait_for(failure, 5)


async def test_a_server_that_can_not_start_is_reported_and_the_others_are_stopped(used_dir: Path) -> None:
    with pytest.raises(ServerDied, match=r"PostgreSQL ended with status 1(.|\n)*no_such_setting"):
        async with run_embedded(used_dir, with_model=False, postgres_settings={**FAST, "no_such_setting": "1"}):
            pytest.fail("it can't have started")
    assert not alive_below(used_dir)


def alive_below(data_dir: Path) -> list[str]:
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if str(data_dir) in line]


async def test_a_cluster_of_another_version_is_refused(data_dir: Path) -> None:
    folders = lay_out(make_root(data_dir))
    folders.cluster.mkdir()
    (folders.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(WrongVersion, match=r"PostgreSQL 17.*inferd reset"):
        async with run_embedded(data_dir, with_model=False, with_valkey=False):
            pytest.fail("it can't have started")


async def test_ctrl_c_stops_all(used_dir: Path, run_command: Run) -> None:
    command = run_command(used_dir)
    os.killpg(command.process.pid, signal.SIGINT)
    await asyncio.to_thread(command.process.wait, 30)
    assert set(command.pids) == {"PostgreSQL", "Valkey"}
    assert not any(map(alive, command.pids.values()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_servers_end_with_a_command_that_is_killed(used_dir: Path, run_command: Run) -> None:
    command = run_command(used_dir, "--model")
    assert set(command.pids) == {"PostgreSQL", "Valkey", "The local model"}
    command.process.kill()
    assert await until_gone(list(command.pids.values()), 30)


async def test_orphans_are_stopped_by_the_next_start_and_keep_their_data(used_dir: Path, run_command: Run) -> None:
    command = run_command(used_dir, "--leave-orphans")
    connection = await asyncpg.connect(str(command.said["owner_url"]))
    await connection.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept (id int)")
    await connection.close()
    command.process.kill()
    command.process.wait()
    assert all(map(alive, command.pids.values()))
    async with run_embedded(used_dir, with_model=False, postgres_settings=FAST) as servers:
        assert servers.recovered == ("PostgreSQL", "Valkey")
        assert not any(map(alive, command.pids.values()))
        connection = await asyncpg.connect(servers.owner_url)
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0
        await connection.close()


def test_a_stranger_with_a_recorded_number_is_left_alone(data_dir: Path) -> None:
    folders = lay_out(make_root(data_dir))
    folders.cluster.mkdir()
    # Of the same user even, which is when PostgreSQL itself would refuse to start.
    user = folders.account.uid if folders.account else None
    with subprocess.Popen(["sleep", "60"], user=user) as stranger:
        try:
            (folders.cluster / "postmaster.pid").write_text(f"{stranger.pid}\n{folders.cluster}\n")
            record(folders.root, {"Valkey": Identity(stranger.pid, "another boot 1")})
            assert stop_leftovers(folders.root, [folders.cluster]) == []
            assert identity_of(stranger.pid) is not None
            assert not (folders.cluster / "postmaster.pid").exists()
        finally:
            stranger.kill()


def test_what_a_copied_directory_recorded_is_not_its_own(data_dir: Path) -> None:
    root = make_root(data_dir)
    itself = identity_of(os.getpid())
    assert itself is not None
    record(root, {"Valkey": itself})
    state = root / "state.json"
    state.write_text(state.read_text().replace(str(root), "/original/embedded"))
    assert stop_leftovers(root, []) == []
