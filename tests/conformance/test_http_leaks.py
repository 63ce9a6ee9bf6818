"""What leaves the process with a call, and what comes back out of a fault: no more than was meant to."""

import pytest

from core.domain.ids import show_job
from core.providers.fault_codes import FaultCode
from tests.conformance.fake_provider import FakeProvider
from tests.conformance.http_adapter import KEY, PROMPT, AdapterFactory, ask, fault

C = FaultCode


@pytest.mark.parametrize("key", [KEY, None])
async def test_nothing_of_the_environment_leaves(
    fake: FakeProvider, adapter: AdapterFactory, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "canary")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/canary")
    monkeypatch.setenv(
        "OPENAI_CUSTOM_HEADERS", "x-tenant: canary\nauthorization: canary\nuser-agent: canary\naccept: canary"
    )
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    request = ask("ok")

    await adapter(key=key).infer(request)

    headers = fake.calls[0].headers
    assert "canary" not in str(headers)
    assert headers.get("authorization") == (f"Bearer {KEY}" if key else None)
    assert headers["x-inferd-job-id"] == show_job(request.job_id)
    assert (headers["x-inferd-attempt"], headers["x-inferd-run"]) == ("1", "1")
    assert not [name for name in headers if name.startswith(("x-stainless", "openai"))]


async def test_a_redirect_is_not_followed(fake: FakeProvider, adapter: AdapterFactory) -> None:
    async with FakeProvider() as elsewhere:
        fake.redirect_to = elsewhere.base_url
        caught = await fault(adapter(), ask("redirect"))

        assert caught.code is C.REDIRECTED
        assert elsewhere.calls == []


async def test_a_cookie_does_not_come_back(fake: FakeProvider, adapter: AdapterFactory) -> None:
    provider = adapter()
    await provider.infer(ask("cookie"))
    await provider.infer(ask("cookie"))

    assert len(fake.calls) == 2
    assert "cookie" not in fake.calls[1].headers
    assert not provider._shards.clients[0]._client.cookies


async def test_a_fault_repeats_neither_prompt_nor_key(adapter: AdapterFactory) -> None:
    caught = await fault(adapter(), ask("leaky"))

    assert "Bad input" in caught.message
    for text in (caught.message, str(caught), str(caught.__cause__)):
        assert KEY not in text
        assert PROMPT not in text
        assert "\x00" not in text


async def test_a_param_that_inferd_sets_itself_stays_here(fake: FakeProvider, adapter: AdapterFactory) -> None:
    caught = await fault(adapter(), ask("ok", stream=True, extra_body={"model": "other"}))

    assert caught.code is C.INVALID_REQUEST
    assert "extra_body, stream" in caught.message
    assert fake.calls == []
