"""The receivers of the documentation take what inferd sends, and nothing else."""

import sys
from pathlib import Path

import httpx2
import pytest

from core.webhooks.egress.signing import new_signing_secret
from tests.support.processes import RunningApi, RunningWorker
from tests.support.tenants import Tenant
from tests.webhooks.documented import check_receiver, code_of, run_receiver
from tests.webhooks.steps import EVERY, deliveries_in, run_job

PYTHON = {
    "FastAPI": (sys.executable, "-m", "uvicorn", "receiver:app", "--port", "{port}", "--log-level", "error"),
    "Flask": (sys.executable, "-m", "flask", "--app", "receiver", "run", "--port", "{port}"),
}


@pytest.mark.parametrize("framework", PYTHON)
async def test_a_documented_receiver_takes_what_is_signed_and_nothing_else(framework: str, tmp_path: Path) -> None:
    secret = new_signing_secret("v1")
    async with run_receiver(tmp_path, framework, secret, PYTHON[framework]) as receiver:
        await check_receiver(receiver, secret)


async def test_a_documented_receiver_and_inferd_understand_each_other(
    api: httpx2.AsyncClient, running: RunningApi, tenant: Tenant, worker: RunningWorker, tmp_path: Path
) -> None:
    async with run_receiver(tmp_path, "FastAPI", tenant.webhook_secret, PYTHON["FastAPI"]) as receiver:
        job = await run_job(api, webhook={"url": receiver.url})
        await receiver.says(f"job.succeeded {job['id']}")
        endpoint = (
            await api.post("/v1/webhook_endpoints", json={"name": "n", "url": receiver.url, "event_types": EVERY})
        ).json()
        await run_job(api)
        # This one is signed with the endpoint's own secret, which the receiver does not have.
        (refused,) = await deliveries_in(api, endpoint, "exhausted", 1)
    assert refused["http_status"] == 400


def test_each_receiver_is_short() -> None:
    for framework in ("FastAPI", "Flask", "Express"):
        lines = [line for line in code_of(framework).splitlines() if line.strip()]
        assert len(lines) <= 18, framework
