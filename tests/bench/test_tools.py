"""The bench's own tools: its client and server speak HTTP, its arithmetic is right, its load is what it says."""

import asyncio

import pytest

from bench.http_client import Target, connect
from bench.http_server import answer, serve
from bench.load import UnexpectedAnswer, arrivals, closed_loop, open_loop, percentile
from bench.outcome import NOT_INSTALLED, Rounds, Row, alternate, at_least
from bench.report import as_json, as_markdown


async def test_the_client_and_the_server_understand_each_other() -> None:
    seen: list[tuple[bytes, bytes]] = []

    def echo(head: bytes, body: bytes) -> bytes:
        seen.append((head, body))
        return answer(body or b"nothing", status="201 Created")

    async with serve(echo) as port, connect(Target("127.0.0.1", port, {"x-mine": "Yes"}), 2) as connections:
        target = Target("127.0.0.1", port, {"x-mine": "Yes"})
        for size in (0, 1, 70_000):
            request = target.request("POST", "/path", "a" * size if size else None, prefer="wait=1")
            for connection in connections:
                status, body = await connection.send(request)
                assert (status, len(body)) == (201, size + 2 if size else len("nothing"))
    head, _ = seen[0]
    assert head.startswith(b"post /path http/1.1\r\n")
    assert b"\r\nx-mine: yes" in head
    assert b"\r\nprefer: wait=1" in head


async def test_a_server_that_goes_away_is_an_error() -> None:
    async with serve(lambda _head, _body: answer(b"")) as port:
        target = Target("127.0.0.1", port, {})
        async with connect(target, 1) as (connection,):
            closing = target.request("GET", "/", connection="close")
            assert (await connection.send(closing)).status == 200

            async def send_until_it_fails() -> None:
                while True:
                    await connection.send(closing)

            with pytest.raises(ConnectionError):
                await asyncio.wait_for(send_until_it_fails(), timeout=5)


async def test_every_request_is_sent_once() -> None:
    paths: list[bytes] = []

    def note(head: bytes, _body: bytes) -> bytes:
        paths.append(head.split(b" ")[1])
        return answer(b"")

    async with serve(note) as port:
        target = Target("127.0.0.1", port, {})
        requests = [target.request("GET", f"/{number}") for number in range(50)]
        closed = await closed_loop(target, requests, connections=4)
        assert sorted(paths, key=lambda path: int(path[1:])) == [b"/%d" % number for number in range(50)]
        opened = await open_loop(target, requests, [0.001] * 50, connections=4)
    assert len(paths) == 100
    assert len(closed.latencies) == len(opened.latencies) == 50


async def test_an_answer_that_was_not_asked_for_ends_the_measurement() -> None:
    async with serve(lambda _head, _body: answer(b"{}", status="429 Too Many Requests")) as port:
        target = Target("127.0.0.1", port, {})
        with pytest.raises(UnexpectedAnswer, match="429"):
            await closed_loop(target, [target.request("GET", "/")], connections=1)


async def test_waiting_for_a_connection_counts() -> None:
    """Two arrivals at once, one connection, a slow server: the second has waited for the first."""
    async with serve(lambda _head, _body: answer(b""), delay=0.05) as port:
        target = Target("127.0.0.1", port, {})
        load = await open_loop(target, [target.request("GET", "/")] * 2, [0.0, 0.0], connections=1)
    first, second = load.latencies
    assert second >= first + 40


def test_arrivals_are_fixed_in_advance() -> None:
    times = arrivals(100, 10, seed=3)
    assert times == arrivals(100, 10, seed=3) == sorted(times)
    assert times != arrivals(100, 10, seed=4)
    assert 800 < len(times) < 1200
    assert 0 < times[0] < times[-1] < 10


def test_percentile() -> None:
    values = list(map(float, range(1, 101)))
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile([7.0], 0.99) == 7


async def test_rounds_alternate_and_each_goes_first_as_often() -> None:
    order: list[str] = []

    async def ours() -> float:
        order.append("o")
        return 10.0

    async def reference() -> float:
        order.append("r")
        return 4.0

    rounds = await alternate(4, ours, reference)

    assert "".join(order) == "orroorro"
    assert rounds.ratio == 2.5
    assert (await alternate(2, ours, None)).ratio is None


@pytest.mark.parametrize(("ours", "met"), [(29.0, False), (30.0, True), (31.0, True)])
def test_a_target_is_met_from_its_factor_on(ours: float, met: bool) -> None:
    row = at_least("x", 3, Rounds([ours, 1000, 0], [10, 10, 10]), of="y")
    assert (row.met, row.ratio) == (met, ours / 10)


def test_without_its_peer_nothing_is_claimed() -> None:
    row = at_least("x", 3, Rounds([1.0], []), of="y")
    assert (row.ratio, row.met, row.reference) == (None, None, NOT_INSTALLED)
    assert "| x | ≥ 3\N{MULTIPLICATION SIGN} y |" in as_markdown({"cores": 2}, [row])
    assert b'"met": null' in as_json({}, [row])


def test_a_missed_target_stands_out() -> None:
    row = Row("x", "t", "r", "o", 0.5, met=False)
    assert "| x | t | r | o | 0.5\N{MULTIPLICATION SIGN} | **no** |" in as_markdown({"cores": 2, "none": None}, [row])
    assert "none" not in as_markdown({"cores": 2, "none": None}, [row])
