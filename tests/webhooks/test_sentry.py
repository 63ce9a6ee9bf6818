"""With Sentry on: receivers and providers see nothing of it, and it sees no more of a URL than its host."""

import asyncio
import gzip
import sys

from tests.webhooks.raw_receiver import answering, receive_raw

SECRET = "s3cr3t-of-the-url"


async def test_no_headers_go_out_and_no_url_is_told() -> None:
    async with (
        receive_raw(answering("200 OK", body=b"{}")) as sentry,
        receive_raw(answering("204 No Content")) as receiver,
        receive_raw(answering("500 Internal Server Error", body=b"{}")) as provider,
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.webhooks.sentry_process",
            f"http://key@127.0.0.1:{sentry.port}/1",
            f"http://127.0.0.1:{receiver.port}/{SECRET}?token={SECRET}#{SECRET}",
            f"http://127.0.0.1:{provider.port}/v1?token={SECRET}",
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
    for outside in (receiver, provider):
        (sent,) = outside.exchanges
        head = sent.request.partition(b"\r\n\r\n")[0].lower()
        assert b"host:" in head
        assert b"sentry-trace" not in head
        assert b"baggage" not in head
    told = b"".join(map(_body, (each.request for each in sentry.exchanges)))
    assert b"a bug with http://127.0.0.1:" in told
    assert b'"breadcrumbs"' in told
    # The calls are among the breadcrumbs, without what they may hold.
    assert f'"http://127.0.0.1:{receiver.port}"'.encode() in told.replace(b" ", b"")
    assert SECRET.encode() not in told


def _body(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    return gzip.decompress(body) if b"content-encoding: gzip" in head.lower() else body
