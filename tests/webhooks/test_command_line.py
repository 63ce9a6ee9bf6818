"""`inferd webhooks` against a running inferd: listen and forward, test, read, redeliver, verify."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cli.exit_codes import CommandFailed, ExitCode
from cli.webhooks import deliveries as webhook_calls
from cli.webhooks import endpoints
from cli.webhooks.listener import Listening, listen
from cli.webhooks.signature import check, problem_with, time_now
from core.webhooks.egress.signing import new_signing_secret, sign, verifying_secret
from tests.support.processes import RunningApi
from tests.support.receiver import receive
from tests.support.tenants import Tenant
from tests.webhooks.steps import deliveries_in, register, run_job

AT = 1_772_600_767
BODY = b'{"type":"webhook.ping"}'


class TestSignature:
    @pytest.mark.parametrize("signature", ["v1", "v1a"])
    def test_a_good_one_is_good(self, signature: Any) -> None:
        secret, older = new_signing_secret(signature), new_signing_secret("v1")
        headers = sign(secret, "evt_1", AT, BODY, older)
        for each in (secret, older):
            assert problem_with(verifying_secret(each), headers, BODY, now=AT) is None

    @pytest.mark.parametrize("signature", ["v1", "v1a"])
    def test_another_one_is_told_why(self, signature: Any) -> None:
        secret = verifying_secret(made := new_signing_secret(signature))
        headers = sign(made, "evt_1", AT, BODY)
        other = "v1a" if signature == "v1" else "v1"
        wrong: dict[str, tuple[dict[str, str], bytes, int]] = {
            "exact bytes": (headers, BODY + b" ", AT),
            "differs": (headers | {"webhook-id": "evt_2"}, BODY, AT),
            "webhook-id is missing": ({k: v for k, v in headers.items() if k != "webhook-id"}, BODY, AT),
            "not a number": (headers | {"webhook-timestamp": "soon"}, BODY, AT),
            "301 s ago": (headers, BODY, AT + 301),
            "301 s ahead": (headers, BODY, AT - 301),
            f"no {signature} signature": (headers | {"webhook-signature": f"{other},AAAA"}, BODY, AT),
            "the secret": (headers | {"webhook-signature": f"{signature},%%%"}, BODY, AT),
        }
        for why, (given, body, now) in wrong.items():
            assert why in (problem_with(secret, given, body, now=now) or ""), why
        assert problem_with(secret, headers, BODY, now=None) is None
        another = verifying_secret(new_signing_secret(signature))
        assert "the secret" in (problem_with(another, headers, BODY, now=AT) or "")

    @pytest.mark.parametrize("secret", ["", "whsec", "whsk_AAAA", "whsec_%", "something"])
    def test_what_is_no_secret_is_said_to_be_none(self, secret: str) -> None:
        with pytest.raises(CommandFailed, match="whsec_"):
            problem_with(secret, {}, BODY, now=AT)

    def test_a_file_is_checked(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        secret = new_signing_secret("v1")
        file = tmp_path / "body.json"
        file.write_bytes(BODY)
        headers = [f"{name}: {value}" for name, value in sign(secret, "evt_1", AT, BODY).items()]
        assert check(file, secret, headers, at_any_time=True) is ExitCode.OK
        assert check(file, secret, headers, at_any_time=False) is ExitCode.FAILED
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "The signature is good."
        assert said[1].startswith("The signature is not good: it was signed ")


@asynccontextmanager
async def command(running: RunningApi, tenant: Tenant, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from local.main import main; main()", "webhooks", *arguments,
        "--api-url", running.url, "--api-key", tenant.key,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2], env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def line(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    async with asyncio.timeout(20):
        return (await stream.readline()).decode().rstrip("\n")


@pytest.mark.usefixtures("worker")
async def test_listening_registers_verifies_forwards_and_tidies_up(
    api: httpx2.AsyncClient, running: RunningApi, tenant: Tenant
) -> None:
    async with receive("", lambda n: web.Response(status=500 if n == 1 else 201)) as application:
        forwarded = ("--forward", application.url, "--event", "job.succeeded")
        async with command(running, tenant, "listen", *forwarded) as listening:
            said = await line(listening.stderr)
            (endpoint,) = (await api.get("/v1/webhook_endpoints")).json()["data"]
            assert said == f"Listening on {endpoint['url']} as {endpoint['id']}, for job.succeeded. Ctrl-C ends it."
            # What is handed on is verified by the application, with the same secret; this one has another.
            assert (await httpx_post(endpoint["url"], sign(new_signing_secret("v1"), "evt_1", AT, BODY))) == 400
            assert "Refused" in await line(listening.stderr)
            job = await run_job(api)
            first, second = await line(listening.stdout), await line(listening.stdout)
            assert first.split()[1:] == ["job.succeeded", job["id"], first.split()[3], "→", "400"]
            assert second.split()[1:4] == first.split()[1:4]
            listening.terminate()
            assert await listening.wait() == 130
            assert await line(listening.stderr) == "Stopping."
    assert (await api.get("/v1/webhook_endpoints")).json()["data"] == []


async def httpx_post(url: str, headers: dict[str, str]) -> int:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return (await client.post(url, headers=headers, content=BODY)).status_code


@pytest.mark.usefixtures("worker")
async def test_listening_ends_after_a_count_and_prints_json(
    api: httpx2.AsyncClient, running: RunningApi, tenant: Tenant
) -> None:
    options = ("--secret", tenant.webhook_secret, "--count", "1", "--output", "json")
    async with command(running, tenant, "listen", *options) as listening:
        said = await line(listening.stderr)
        url = said.removeprefix("Listening on ").removesuffix(". Ctrl-C ends it.")
        assert (await api.get("/v1/webhook_endpoints")).json()["data"] == []
        job = await run_job(api, webhook={"url": url})
        assert json.loads(await line(listening.stdout))["data"]["job_id"] == job["id"]
        async with asyncio.timeout(20):
            assert await listening.wait() == 0


async def test_no_more_than_the_count_are_taken_while_the_last_one_is_handed_on(
    running: RunningApi, tenant: Tenant
) -> None:
    """What comes meanwhile is refused, so that inferd sends it again to whoever listens next."""
    secret, forwarded, held = new_signing_secret("v1"), asyncio.Event(), asyncio.Event()

    async def hold(_: web.Request) -> web.Response:
        forwarded.set()
        await held.wait()
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/", hold)
    async with TestServer(application) as server:
        options = ("--secret", secret, "--count", "1", "--output", "json", "--forward", str(server.make_url("/")))
        async with command(running, tenant, "listen", *options) as listening:
            url = (await line(listening.stderr)).removeprefix("Listening on ").removesuffix(". Ctrl-C ends it.")
            headers = sign(secret, "evt_1", time_now(), BODY)
            first = asyncio.create_task(httpx_post(url, headers))
            await asyncio.wait_for(forwarded.wait(), 20)
            assert await httpx_post(url, headers) == 503
            held.set()
            assert await first == 204
            said, _ = await asyncio.wait_for(listening.communicate(), 20)
    assert said.decode().splitlines() == [BODY.decode()]


def test_what_it_can_t_forward_to_is_refused_at_once() -> None:
    wanted = Listening(
        forward="notaurl", events=(), port=0, public_url=None, secret="whsec_AAAA", count=1, as_json=False
    )
    with pytest.raises(CommandFailed, match="--forward can't be 'notaurl'") as refusal:
        listen(wanted, api_url=None, api_key=None)
    assert refusal.value.exit_code is ExitCode.USAGE


async def test_a_deployment_that_may_not_call_this_machine_says_what_to_do(
    shared_api: RunningApi, tenant: Tenant
) -> None:
    async with command(shared_api, tenant, "listen") as listening:
        said = await line(listening.stderr)
        assert await listening.wait() == 2
    assert "INFERD_WEBHOOK_ALLOW_HTTP" in said


@pytest.fixture
def ask(
    running: RunningApi, tenant: Tenant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs a call of cli/webhooks as its command does; answers what it returned and what it printed."""
    monkeypatch.setenv("COLUMNS", "200")

    async def run(work: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, str]:
        capsys.readouterr()
        target = {"api_url": running.url, "api_key": tenant.key}
        returned = await asyncio.to_thread(work, *arguments, **options, **target)
        return returned, capsys.readouterr().out

    return run


@pytest.mark.usefixtures("worker")
async def test_an_endpoint_is_tested_read_and_redelivered_to(api: httpx2.AsyncClient, ask: Callable[..., Any]) -> None:
    async with receive("", lambda _: web.Response(status=500)) as receiver:
        endpoint = await register(api, receiver)
        code, said = await ask(endpoints.send_sample, endpoint["id"], "webhook.ping")
        assert (code, f"{endpoint['id']} responded to webhook.ping with HTTP 500." in said) == (ExitCode.FAILED, True)
        job = await run_job(api)
        (exhausted, _) = await deliveries_in(api, endpoint, "exhausted", 2)
        _, said = await ask(webhook_calls.show_deliveries, endpoint["id"], ["exhausted"], 20, None, as_json=False)
        assert exhausted["id"] in said
        assert "job.succeeded" in said
        _, said = await ask(webhook_calls.show_deliveries, job["id"], [], 20, None, as_json=True)
        assert exhausted["id"] in said
        code, said = await ask(webhook_calls.send_again, exhausted["id"], 20.0)
        assert code is ExitCode.FAILED
        assert "HTTP 500" in said
        receiver.answer = lambda _: web.Response(status=204)
        code, said = await ask(endpoints.send_sample, endpoint["id"], "webhook.ping")
        assert code is ExitCode.OK
        await deliveries_in(api, endpoint, "delivered", 2)
        code, said = await ask(webhook_calls.send_again, exhausted["id"], 20.0)
        assert code is ExitCode.OK
        assert f"{exhausted['id']} is delivered" in said
        _, said = await ask(webhook_calls.show_deliveries, exhausted["id"], [], 20, None, as_json=False)
        assert "manual" in said
        with pytest.raises(CommandFailed, match="There is no webhook endpoint") as missing:
            await ask(endpoints.send_sample, f"we_{'0' * 32}", "webhook.ping")
        assert missing.value.exit_code is ExitCode.NOT_FOUND


async def test_an_endpoint_lives_by_commands_alone(
    api: httpx2.AsyncClient, ask: Callable[..., Any], running: RunningApi, tenant: Tenant
) -> None:
    async with command(running, tenant, "endpoints", "create", "https://example.com/hook", "--output", "json") as made:
        out, said = await asyncio.wait_for(made.communicate(), 20)
    endpoint = json.loads(out)
    assert endpoint["event_types"] == ["job.succeeded", "job.failed", "job.cancelled", "job.expired"]
    assert f"webhooks endpoints test {endpoint['id']}" in said.decode()
    _, said = await ask(endpoints.show_list, 20, None, as_json=False)
    assert (endpoint["id"] in said, endpoint["signing_secret"] in said) == (True, False)
    arguments = ("endpoints", "update", endpoint["id"], "--disable", "--max-per-second", "5", "--name", "other")
    async with command(running, tenant, *arguments) as updated:
        assert await updated.wait() == 0
    found = (await api.get(f"/v1/webhook_endpoints/{endpoint['id']}")).json()
    assert (found["name"], found["enabled"], found["max_per_second"]) == ("other", False, 5)
    _, said = await ask(endpoints.rotate, endpoint["id"], {}, as_json=False)
    assert "whsec_" in said
    assert endpoint["signing_secret"] not in said
    _, said = await ask(endpoints.show, endpoint["id"], as_json=False)
    assert "disabled reason       caller" in said
    for change in ("update", "delete"):
        async with command(running, tenant, "endpoints", change, endpoint["id"]) as refused:
            assert await refused.wait() == ExitCode.USAGE
    _, said = await ask(endpoints.delete, endpoint["id"], yes=True)
    assert f"Deleted {endpoint['id']}." in said
    with pytest.raises(CommandFailed, match="There is no webhook endpoint"):
        await ask(endpoints.show, endpoint["id"], as_json=False)
