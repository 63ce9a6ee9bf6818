"""A process that dies at a step of one job, and the sweep and worker that repair what it left."""

import socket
from contextlib import suppress

import httpx2

from core.domain.ids import JobId, parse_job
from tests.proofs.dying_process import Order
from tests.proofs.edges import Mishap
from tests.proofs.fault_stage import FaultStage
from tests.proofs.fork_server import ForkServer
from tests.proofs.one_job import submit_one
from tests.support.explicit_settings import environment_of
from tests.support.waiting import eventually


async def steps_of_a_worker(stage: FaultStage, fork_server: ForkServer) -> list[str]:
    """Those that it takes for a job: not its sweeps and heartbeats, which come when they come."""
    if "worker" not in fork_server.steps:
        taken: list[str] = []
        # Twice: at first Redis has to load the scripts.
        for number in range(2):
            job_id = await submit_one(stage.api, stage.setting, f"rehearsal-{number}")
            await stage.api.jobs.enqueuer.aclose()
            await fork_server.start(Order("worker", environment_of(stage.settings)))
            await stage.until_over(job_id)
            taken = await fork_server.stop()
        steps = [step for step in taken if step.startswith(("flush-", "job >", "dlv >", "enqueue >"))]
        # Its loops claim again and again: the first one gets the job.
        fork_server.steps["worker"] = ["jobs > redis script CLAIM #1", *steps]
    return fork_server.steps["worker"]


async def steps_of_an_api(stage: FaultStage, fork_server: ForkServer) -> list[str]:
    """Those that it takes for a submit."""
    if "api" not in fork_server.steps:
        taken: list[str] = []
        # Twice, for the same reason.
        for number in range(2):
            job_id = await post(stage, await start_api(stage, fork_server), f"api-rehearsal-{number}")
            taken = await fork_server.stop()
            await stage.repair(job_id)
        fork_server.steps["api"] = [step for step in taken if step.startswith(("flush-insert", "enqueue"))]
    return fork_server.steps["api"]


async def submit_to_a_dying_worker(
    stage: FaultStage, fork_server: ForkServer, key: str, step: str, death: Mishap
) -> JobId:
    """The job as the worker left it."""
    job_id = await submit_one(stage.api, stage.setting, key)
    await stage.api.jobs.enqueuer.aclose()
    await fork_server.start(Order("worker", environment_of(stage.settings), step, death))
    assert await fork_server.died(), f"{step} was not reached"
    return job_id


async def submit_to_a_dying_api(stage: FaultStage, fork_server: ForkServer, key: str, step: str, death: Mishap) -> None:
    url = await start_api(stage, fork_server, step, death)
    # The answer may have gone out first: a submit does not wait for its enqueue.
    with suppress(httpx2.TransportError):
        await post(stage, url, key)
    assert await fork_server.died(), f"{step} was not reached"


async def start_api(
    stage: FaultStage, fork_server: ForkServer, step: str | None = None, death: Mishap | None = None
) -> str:
    """Its URL, when it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**environment_of(stage.settings), "INFERD_API_PORT": str(port)}
    await fork_server.start(Order("api", environment, step, death))
    url = f"http://127.0.0.1:{port}"

    async def is_ready() -> bool:
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            with suppress(httpx2.TransportError):
                return (await client.get("/readyz")).status_code == httpx2.codes.OK
        return False

    await eventually(is_ready, what="the API is ready")
    return url


def submission(stage: FaultStage, key: str) -> tuple[dict[str, str], dict[str, object]]:
    """Headers and body of a submit that may be sent twice."""
    setting = stage.setting
    headers = {**setting.tenant.authorization, "idempotency-key": key}
    return headers, {"model": setting.model, "input": "hello", "webhook": {"url": setting.hook}}


async def post(stage: FaultStage, url: str, key: str) -> JobId:
    """The job's id, as the client learns it."""
    headers, body = submission(stage, key)
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        answer = await client.post("/v1/jobs", json=body)
    assert answer.status_code == httpx2.codes.ACCEPTED, answer.text
    return parse_job(answer.json()["id"])
