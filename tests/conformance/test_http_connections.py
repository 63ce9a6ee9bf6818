"""Connections that are lost, silent, refused, scarce or no longer wanted."""

import asyncio
import datetime as dt
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.domain.retry import Disposition
from core.providers.fault_codes import FaultCode
from core.providers.openai_compatible import _connection_fault
from core.providers.transport import Timeouts
from tests.conformance.fake_provider import FakeProvider
from tests.conformance.http_adapter import PROMPT, AdapterFactory, ask, fault

RETRY, SNOOZE, GIVE_UP = Disposition.RETRY, Disposition.SNOOZE, Disposition.GIVE_UP
C = FaultCode


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
@pytest.mark.parametrize("model", ["hang", "hang-after-headers", "drip"])
async def test_cancelling_hangs_up(fake: FakeProvider, adapter: AdapterFactory, model: str, streaming: bool) -> None:
    task = asyncio.create_task(adapter(streaming=streaming).infer(ask(model)))
    call = await fake.call()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(call.over.wait(), 2)
    assert call.outcome == "client_left"


async def test_the_deadline_hangs_up_too(fake: FakeProvider, adapter: AdapterFactory) -> None:
    await fault(adapter(), ask("hang", timeout=0.4))

    call = await fake.call()
    await asyncio.wait_for(call.over.wait(), 2)
    assert call.outcome == "client_left"


async def test_cancelled_calls_give_their_connections_back(fake: FakeProvider, adapter: AdapterFactory) -> None:
    provider = adapter(concurrency=2)
    for number in range(6):
        task = asyncio.create_task(provider.infer(ask("hang")))
        await fake.call(number)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert (await provider.infer(ask("ok"))).text == PROMPT


async def test_connections_are_kept(fake: FakeProvider, adapter: AdapterFactory) -> None:
    provider = adapter(concurrency=1, timeouts=Timeouts(pool=0.5))
    for _ in range(3):
        await provider.infer(ask("ok"))

    assert len(fake._connections) == 1


async def test_a_full_pool_waits_without_paying(fake: FakeProvider, adapter: AdapterFactory) -> None:
    provider = adapter(concurrency=1, timeouts=Timeouts(pool=0.05))
    first = asyncio.create_task(provider.infer(ask("hang")))
    await fake.call()

    caught = await fault(provider, ask("ok"))
    first.cancel()

    assert (caught.code, caught.disposition, caught.billed) == (C.CONNECTIONS_BUSY, SNOOZE, "no")
    assert len(fake.calls) == 1


async def test_a_call_that_may_not_go_out_any_more_is_not_sent(fake: FakeProvider, adapter: AdapterFactory) -> None:
    """Asked once the connection is there, a new one or a kept one: a process may stand still until then."""
    provider = adapter()
    for allowed in (False, True, False):
        request = replace(ask("ok"), may_send=[lambda: False, lambda: True][allowed])
        if allowed:
            await provider.infer(request)
        else:
            caught = await fault(provider, request)
            assert (caught.code, caught.disposition, caught.billed) == (C.NOT_SENT, SNOOZE, "no")
    assert len(fake.calls) == 1


async def test_a_call_that_was_begun_when_the_process_stalled_is_not_finished(
    fake: FakeProvider, adapter: AdapterFactory
) -> None:
    """Asked again between the header and the body, without which no server can run it."""
    answers = iter([True, False])
    caught = await fault(adapter(), replace(ask("ok"), may_send=lambda: next(answers)))
    assert (caught.code, caught.billed) == (C.NOT_SENT, "no")
    assert not fake.calls


@pytest.mark.parametrize("model", ["hang", "hang-after-headers"])
@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
async def test_silence_is_the_providers_timeout(adapter: AdapterFactory, model: str, streaming: bool) -> None:
    caught = await fault(adapter(streaming=streaming, timeouts=Timeouts(read=0.05)), ask(model))

    assert (caught.code, caught.disposition, caught.billed) == (C.PROVIDER_TIMEOUT, RETRY, "maybe")


async def test_a_closed_port_costs_nothing(adapter: AdapterFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    caught = await fault(adapter(base_url=f"http://127.0.0.1:{port}/v1"), ask("ok"))

    assert (caught.code, caught.disposition, caught.billed) == (C.PROVIDER_UNREACHABLE, Disposition.WAIT_OUT, "no")


async def test_another_scheme_is_a_wrong_setting(adapter: AdapterFactory) -> None:
    caught = await fault(adapter(base_url="ftp://127.0.0.1/v1"), ask("ok"))

    assert (caught.code, caught.disposition) == (C.URL_INVALID, GIVE_UP)


async def test_a_certificate_nobody_vouches_for_is_a_wrong_setting(adapter: AdapterFactory, tmp_path: Path) -> None:
    async with FakeProvider(tls=_self_signed(tmp_path)) as server:
        caught = await fault(adapter(base_url=server.base_url), ask("ok"))

        assert (caught.code, caught.disposition, caught.billed) == (C.CERTIFICATE_INVALID, GIVE_UP, "no")
        assert server.calls == []


async def test_what_nobody_foresaw_is_still_a_fault(adapter: AdapterFactory) -> None:
    provider = adapter()
    await provider.aclose()

    caught = await fault(provider, ask("ok"))

    assert (caught.code, caught.disposition) == (C.ADAPTER_ERROR, RETRY)
    assert isinstance(caught.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("error", "code", "billed"),
    [
        (httpx2.PoolTimeout(""), C.CONNECTIONS_BUSY, "no"),
        (httpx2.ConnectTimeout(""), C.PROVIDER_UNREACHABLE, "no"),
        (httpx2.ConnectError(""), C.PROVIDER_UNREACHABLE, "no"),
        (httpx2.WriteTimeout(""), C.PROVIDER_TIMEOUT, "maybe"),
        (httpx2.ReadError(""), C.CONNECTION_LOST, "maybe"),
        (httpx2.WriteError(""), C.CONNECTION_LOST, "maybe"),
        (httpx2.RemoteProtocolError(""), C.CONNECTION_LOST, "maybe"),
        (httpx2.DecodingError(""), C.ANSWER_NOT_JSON, "maybe"),
        (httpx2.LocalProtocolError(""), C.ADAPTER_ERROR, "maybe"),
        (UnicodeEncodeError("utf-8", PROMPT, 0, 1, PROMPT), C.ADAPTER_ERROR, "maybe"),
        (None, C.ADAPTER_ERROR, "maybe"),
    ],
)
def test_each_broken_connection_has_its_code(error: Exception | None, code: FaultCode, billed: str) -> None:
    caught = _connection_fault(error)

    assert (caught.code, caught.billed) == (code, billed)
    assert PROMPT not in caught.message


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=1)
    )
    certificate = builder.sign(key, hashes.SHA256())
    encoding, form, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = folder / "server.pem"
    pem.write_bytes(key.private_bytes(encoding, form, plain) + certificate.public_bytes(encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
