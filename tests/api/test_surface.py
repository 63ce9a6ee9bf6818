"""What holds for every path: keys, one error shape, ids, headers, health, models, the OpenAPI document."""

import httpx2
import pytest

from core.access.keys import new_key
from core.access.tenants import create_key, revoke_key
from core.domain.errors import CODES
from core.runtime import OperatorRuntime
from tests.support.processes import RunningApi
from tests.support.tenants import Tenant

PATHS = ("/v1/jobs", "/v1/models", "/v1/webhook_secret", "/v1/jobs/job_00000000000000000000000000000000")


class TestKeys:
    @pytest.mark.parametrize("path", PATHS)
    async def test_every_path_wants_one(self, shared_api: RunningApi, path: str) -> None:
        async with shared_api.client() as nobody:
            answer = await nobody.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"

    async def test_a_wrong_one_is_refused(self, api: httpx2.AsyncClient, tenant: Tenant) -> None:
        last = "a" if tenant.key[-1] != "a" else "b"
        wrong = {
            f"Bearer {tenant.key[:-1]}{last}": "Malformed API key",
            "Bearer x": "Malformed API key",
            f"Basic {tenant.key}": "No API key",
            "Bearer": "No API key",
            tenant.key: "No API key",
            f"Bearer {new_key()[0]}": "unknown, revoked or expired",
        }
        for value, why in wrong.items():
            answer = await api.get("/v1/jobs", headers={"authorization": value})
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], why in error["message"]) == (401, "invalid_api_key", True), value

    async def test_a_revoked_one_is_refused(
        self, api: httpx2.AsyncClient, tenant: Tenant, operator: OperatorRuntime
    ) -> None:
        key = await create_key(operator.database, operator.clock, tenant.id, "short-lived")
        await revoke_key(operator.database, tenant.id, key.text.split("_")[2])
        answer = await api.get("/v1/jobs", headers={"authorization": f"Bearer {key.text}"})
        assert answer.status_code == 401

    async def test_a_body_is_not_read_before_the_key(self, shared_api: RunningApi) -> None:
        async with shared_api.client() as nobody:
            answer = await nobody.post("/v1/jobs", content=b"x" * 2_000_000)
        assert answer.status_code == 401


class TestErrors:
    async def test_one_shape(self, api: httpx2.AsyncClient) -> None:
        answers = {
            404: await api.get("/v1/nothing"),
            405: await api.put("/v1/jobs"),
            400: await api.post("/v1/jobs", content=b"{"),
            413: await api.post("/v1/jobs", content=b" " * 1_100_000),
            422: await api.post("/v1/jobs", json={"model": 1}),
        }
        for status, answer in answers.items():
            assert answer.status_code == status
            error = answer.json()["error"]
            assert set(answer.json()) == {"error"}
            assert set(error) == {"message", "type", "param", "code"}
            assert error["code"] in CODES
            assert answer.headers["x-request-id"]

    async def test_a_harmless_request_id_is_kept(self, api: httpx2.AsyncClient) -> None:
        kept = await api.get("/livez", headers={"x-request-id": "abc-1.2_3"})
        made = await api.get("/livez", headers={"x-request-id": "a b"})
        assert kept.headers["x-request-id"] == "abc-1.2_3"
        assert made.headers["x-request-id"].startswith("req_")

    async def test_security_headers(self, api: httpx2.AsyncClient) -> None:
        headers = (await api.get("/v1/models")).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


class TestHealth:
    async def test_probes_need_no_key(self, shared_api: RunningApi) -> None:
        async with shared_api.client() as nobody:
            assert (await nobody.get("/livez")).json() == {"status": "ok"}
            ready = await nobody.get("/readyz")
            assert (ready.status_code, ready.json()["checks"]) == (200, {"postgres": "ok", "redis": "ok"})

    async def test_metrics_count_submits(self, api: httpx2.AsyncClient) -> None:
        await api.post("/v1/jobs", json={"model": "echo/echo", "input": "hi"})
        text = (await api.get("/metrics")).text
        assert 'inferd_jobs_submitted_total{priority="standard",provider="echo"}' in text
        assert 'route="/v1/jobs"' in text


async def test_models_that_are_known_by_name(api: httpx2.AsyncClient) -> None:
    models = (await api.get("/v1/models")).json()
    assert models["object"] == "list"
    assert {"id": "echo/flaky", "object": "model", "created": 0, "owned_by": "echo"} in models["data"]


async def test_the_webhook_secret_is_the_tenants(api: httpx2.AsyncClient, tenant: Tenant, other_tenant: Tenant) -> None:
    assert (await api.get("/v1/webhook_secret")).json()["secret"] == tenant.webhook_secret
    theirs = await api.get("/v1/webhook_secret", headers=other_tenant.authorization)
    assert theirs.json()["secret"] == other_tenant.webhook_secret != tenant.webhook_secret


async def test_the_document_names_every_route_and_resolves(api: httpx2.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    assert {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/cancel", "/v1/models"} <= document["paths"].keys()
    for reference in _references(document):
        _, _, kind, name = reference.split("/")
        assert name in document["components"][kind], reference
    assert document["paths"]["/v1/jobs"]["post"]["requestBody"]["required"] is True


def _references(node: object) -> list[str]:
    match node:
        case dict():
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [each for value in node.values() for each in _references(value)]
        case list():
            return [each for value in node for each in _references(value)]
        case _:
            return []
