"""The three proofs: nothing is lost under faults, the dead delay nobody, and what waited out an outage comes at a rate.

Each runs on a deployment and answers a verdict; `python -m tests.webhooks.chaos` runs all of them at full size.
"""

import asyncio
import os
import random
import signal
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, time
from typing import Final

import asyncpg

from tests.chaos.fleet import Member
from tests.support.waiting import eventually
from tests.webhooks.chaos.crowd import Crowd, Faults
from tests.webhooks.chaos.deployment import Client, Deployment, lost

FAULTS: Final = Faults(error=0.20, silence=0.05, reset=0.05, drip=0.05)
ISOLATION_TARGET: Final = 1.2


# When, as a share of the attack, what it is called, and what it does.
StoreFault = tuple[float, str, Callable[[], Awaitable[None]]]


@dataclass(frozen=True)
class Line:
    """One figure, and whether it is as it has to be; None for one that is only told."""

    name: str
    value: str
    met: bool | None = None


@dataclass(frozen=True)
class Verdict:
    title: str
    lines: tuple[Line, ...]

    @property
    def met(self) -> bool:
        return all(line.met is not False for line in self.lines)


async def prove_nothing_is_lost(
    deployment: Deployment, crowd: Crowd, *, events: int, hosts: Sequence[str], seed: int, attack: "Attack"
) -> Verdict:
    """Every accepted job is told, in the end, under one webhook-id."""
    clients = await deployment.clients(len(hosts))
    own: list[str | None] = []
    for number, (client, host) in enumerate(zip(clients, hosts, strict=True)):
        await crowd.open(host)
        path = f"hook-{number}"
        if number % 2:
            crowd.secrets[path] = client.tenant.webhook_secret
            own.append(crowd.url(host, path))
        else:
            crowd.secrets[path] = (await client.register(crowd.url(host, path)))["signing_secret"]
            own.append(None)
    started, stop = monotonic(), asyncio.Event()
    attacking = asyncio.create_task(attack.run(stop))
    try:
        await _submit(clients, own, events, seed, attack.seconds)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), max(0.0, attack.seconds - (monotonic() - started)))
    finally:
        stop.set()
        await attacking
    await deployment.settled(150)
    took = monotonic() - started
    told = Counter(arrival.job_id for arrival in crowd.arrivals)
    missing = lost(set(told), clients)
    accepted = sum(len(client.jobs) for client in clients)
    many_ids = [job for job, ids in crowd.ids.items() if len(ids) > 1]
    exhausted = await deployment.count("exhausted", "skipped")
    answers = ", ".join(f"{count} {name}" for name, count in crowd.answers.most_common())
    return Verdict(
        f"{accepted} events under faults, in {took:.0f} s",
        (
            Line("faults", ", ".join(f"{count} × {name}" for name, count in attack.done.most_common())),
            Line("answers", answers),
            Line("accepted", str(accepted), accepted == events),
            Line("lost", str(len(missing)), not missing),
            Line("exhausted or skipped", str(exhausted), exhausted == 0),
            Line("duplicates", str(sum(told.values()) - len(told))),
            Line("events under more than one webhook-id", str(len(many_ids)), not many_ids),
            Line("bad signatures", str(crowd.unverified), crowd.unverified == 0),
        ),
    )


async def _submit(clients: Sequence[Client], own: Sequence[str | None], events: int, seed: int, seconds: float) -> None:
    """Spread over the attack, in requests of at most 100 jobs."""
    share, rest = divmod(events, len(clients))
    rounds = max(1, -(-share // 100))

    async def one(number: int) -> None:
        left = share + (number < rest)
        for turn in range(rounds):
            size = -(-left // (rounds - turn))
            await clients[number].submit(size, prefix=f"{seed}-{number}-{turn}", own_url=own[number])
            left -= size
            await asyncio.sleep(seconds * 0.8 / rounds)

    await asyncio.gather(*(one(number) for number in range(len(clients))))


@dataclass
class Attack:
    """kill -9 of the API and of workers, every so often, and what else is given, at its times within `seconds`."""

    deployment: Deployment
    seed: int
    seconds: float
    every: tuple[float, float]
    at: Sequence[StoreFault] = ()

    def __post_init__(self) -> None:
        self.done: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        draw, started = random.Random(self.seed), monotonic()
        others = sorted(self.at, key=lambda each: each[0], reverse=True)
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), draw.uniform(*self.every))
                return
            if others and monotonic() - started >= others[-1][0] * self.seconds:
                _, name, fault = others.pop()
                await fault()
                self.done[name] += 1
            member = draw.choice([*self.deployment.fleet.workers * 2, *self.deployment.fleet.apis])
            await self._kill(member)

    async def _kill(self, member: Member) -> None:
        if member.running:
            await self.deployment.fleet.kill(member, down=0.0)
            self.done[f"kill -9 {member.name.partition('-')[0]}"] += 1


async def crash_postgres(owner_url: str) -> None:
    """A backend's death makes PostgreSQL end all the others and recover from its log: a restart after a crash."""
    connection = await asyncpg.connect(owner_url)
    os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
    connection.terminate()


async def prove_the_dead_delay_nobody(
    deployment: Deployment, crowd: Crowd, *, hosts: Sequence[str], seconds: float
) -> Verdict:
    """The same load on the same endpoints, with none and with half of them dead, in turn."""
    clients = await deployment.clients(len(hosts))
    for number, (client, host) in enumerate(zip(clients, hosts, strict=True)):
        await crowd.open(host)
        crowd.secrets[f"hook-{number}"] = (await client.register(crowd.url(host, f"hook-{number}")))["signing_secret"]
    half = len(hosts) // 2
    well, dead = clients[:half], set(hosts[half:])
    delays: dict[bool, list[float]] = {False: [], True: []}
    for turn, with_dead in enumerate((False, True, True, False, False, True)):
        crowd.dead = dead if with_dead else set()
        before = len(crowd.arrivals)
        await _steady(clients, turn, seconds)
        jobs = {job for client in well for job in client.jobs}
        await _all_told(crowd, jobs)
        delays[with_dead] += [arrival.delay for arrival in crowd.arrivals[before:] if arrival.job_id in jobs]
        crowd.dead = set()
        await deployment.settled(60)
    none, some = (_p95(delays[with_dead]) for with_dead in (False, True))
    missing = lost({arrival.job_id for arrival in crowd.arrivals}, clients)
    return Verdict(
        f"{half} of {len(hosts)} endpoints dead",
        (
            Line("healthy p50, p95 with none dead", f"{_p50(delays[False])}, {none * 1000:.0f} ms"),
            Line("healthy p50, p95 with half dead", f"{_p50(delays[True])}, {some * 1000:.0f} ms"),
            Line("ratio of the p95", f"{some / none:.2f} (target {ISOLATION_TARGET})", some <= ISOLATION_TARGET * none),
            Line("deliveries measured", f"{len(delays[False])} and {len(delays[True])}"),
            Line("lost", str(len(missing)), not missing),
        ),
    )


async def _steady(clients: Sequence[Client], turn: int, seconds: float) -> None:
    """Two events a second for each."""

    async def one(number: int, client: Client) -> None:
        await asyncio.sleep(number / len(clients) / 2)
        for tick in range(int(seconds * 2)):
            await client.submit(1, prefix=f"{turn}-{number}-{tick}")
            await asyncio.sleep(0.5)

    await asyncio.gather(*(one(number, client) for number, client in enumerate(clients)))


async def _all_told(crowd: Crowd, jobs: set[str]) -> None:
    await eventually(lambda: not jobs - {arrival.job_id for arrival in crowd.arrivals}, seconds=60)


def _p95(delays: Sequence[float]) -> float:
    return statistics.quantiles(delays, n=100)[94]


def _p50(delays: Sequence[float]) -> str:
    return f"{statistics.median(delays) * 1000:.0f} ms"


async def prove_a_drain_keeps_its_rate(
    deployment: Deployment, crowd: Crowd, *, events: int, host: str, per_second: float
) -> Verdict:
    """The receiver is away while `events` come up; when it is back they come, at no more than it asked for."""
    (client,) = await deployment.clients(1)
    # A port that is known, and not yet listened on at this address.
    endpoint = await client.register(crowd.url(host, "drained"), max_per_second=per_second)
    crowd.secrets["drained"] = endpoint["signing_secret"]
    before = await deployment.deliveries()
    size = min(1000, events)
    for number in range(0, events, size):
        await client.submit(min(size, events - number), prefix=f"drain-{number}")

    async def all_made() -> bool:
        return await deployment.deliveries() - before >= events

    await eventually(all_made, seconds=120)
    seen, back = len(crowd.arrivals), time()
    await crowd.open(host)
    await deployment.settled(180)
    arrivals = sorted(arrival.at for arrival in crowd.arrivals[seen:])
    took, busiest = arrivals[-1] - back, _busiest_second(arrivals)
    missing = lost({arrival.job_id for arrival in crowd.arrivals}, [client])
    cap = deployment.settings.webhook.per_endpoint
    return Verdict(
        f"drain of {events} events after an outage, at {per_second:g}/s at most",
        (
            Line("drained in", f"{took:.0f} s, {events / took:.0f}/s"),
            Line("busiest second", f"{busiest} (target {per_second * 1.1:.0f})", busiest <= per_second * 1.1 + cap),
            Line("most at once", f"{crowd.most_at_once[host]} (cap {cap})", crowd.most_at_once[host] <= cap),
            Line("lost", str(len(missing)), not missing),
            Line("duplicates", str(len(arrivals) - len(client.jobs))),
        ),
    )


def _busiest_second(arrivals: Sequence[float]) -> int:
    most, first = 0, 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] > 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
