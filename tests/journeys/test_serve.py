"""A first hour with `inferd serve`: start it, paste what the documents show, kill it, start it again, stop it."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator

import httpx2
import pytest

from local.embedded.reset import reset
from local.processes import free_port
from tests.journeys.pasting import pasted
from tests.journeys.serving import INFERD, Place, Serve
from tests.local.conftest import alive
from tests.support.folders import open_folder
from tests.support.waiting import eventually

PARTS = {"api.main", "worker.main", "postgres -D", "valkey-server", "model_server.py"}


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with open_folder() as folder:
        yield Place(folder, free_port("127.0.0.1"))
        reset(folder / "inferd")


async def nothing_left(family: dict[int, str]) -> None:
    await eventually(lambda: not any(map(alive, family)), seconds=20, what=f"all of {family} have ended")


async def the_blocks_of_the_documents_work(place: Place, serve: Serve) -> None:
    with pasted("README.md", place, serve) as (shell, printed):
        await eventually(
            lambda: re.search(r"(?m)^job\.succeeded job_\w{32}$", printed.read_text()) or shell.poll(),
            seconds=100,
            what="the receiver of the README has printed its webhook",
        )
        said = printed.read_text()
        assert not shell.poll(), said
        assert said.count('"object":"job"') == 2
        assert "succeeded 3 Third time lucky\n" in said
    with pasted("docs/quickstart.md", place, serve) as (shell, printed):
        assert await asyncio.to_thread(shell.wait, 150) == 0, printed.read_text()
    said = printed.read_text()
    assert "3 attempts · " in said
    assert re.search(r"(?m)^job_\w{32} +queued +echo/slow|^job_\w{32} +running +echo/slow", said)
    assert "  cancelled  " in said


def parts(serve: Serve) -> set[str]:
    return {part for part in PARTS for what in serve.family().values() if part in what}


@pytest.mark.timeout(400)
async def test_jobs_run_and_survive_kill_9_and_ctrl_c_leaves_nothing_running(place: Place) -> None:
    with place.serve() as killed:
        job = place.job("Say hello", "--model", "local/smollm2-135m", "--param", "max_tokens=16")
        assert (job["status"], job["attempts_used"]) == ("succeeded", 1)
        assert job["output"]["text"].strip()
        examined = place.command("doctor")
        assert examined.returncode == 0, examined.stdout
        assert "provider local" in examined.stdout
        said = [line.strip() for line in killed.said]
        assert f"export INFERD_API_KEY={killed.api_key}" in said
        assert any(line.startswith(f"{INFERD} run ") for line in said)
        assert not [line for line in said if line.startswith("export INFERD_DATA_DIR")]
        assert parts(killed) == PARTS
        await the_blocks_of_the_documents_work(place, killed)
        left_behind = killed.family()
        killed.process.kill()
        killed.process.wait()

    # At once, while the killed one's processes may still be ending.
    with place.serve() as serve:
        assert serve.api_key == killed.api_key
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {serve.api_key}"}, trust_env=False) as http:
            kept = (await http.get(f"http://127.0.0.1:{place.port}/v1/jobs/{job['id']}")).json()
        assert kept["output"] == job["output"]
        await nothing_left(left_behind)
        family = serve.family()
        assert serve.stop(signal.SIGINT) == 0
        assert not any(map(alive, family))

    after = place.command("run", "Hi", "--model", "echo/echo")
    assert after.returncode == 5
    assert "inferd serve" in after.stderr
