"""The arq worker that inferd runs: claims batches in one Lua call, wakes by message, survives Redis.

A subclass of arq 0.28.0's Worker, whose loop sleeps half a second, claims one job in four round trips and dies of
any exception. Overridden here, and pinned by tests/worker/test_arq_contract.py: `main`, `_poll_iteration`,
`run_job`, `_release_sem_dec_counter_on_complete`. A stock arq worker may serve the same lanes. Run by worker/main.py.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func

from core.db.batching import Batcher
from core.queue import scripts
from core.queue.connect import RedisFault
from core.queue.keys import LANE_WEIGHTS, Keys, Lane, parse_member
from core.queue.payload import dumps, function_of, loads
from core.queue.shares import Shares

_MAX_CLAIM: Final = 500
_TICK_SECONDS: Final = 1.0
_FAULT_SECONDS: Final = 0.1
_UNKNOWN_TASK_SECONDS: Final = 5.0

# A task gets arq's ctx and a member; it answers None, or after how many seconds it wants to run again.
Task = Callable[[dict[str, object], str], Awaitable[float | None]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Acquired:
    """A member that this worker holds in Redis until `score` (milliseconds of Redis's clock)."""

    lane: Lane
    member: str
    token: str
    score: int
    function: str


@dataclass(frozen=True, slots=True)
class _Finish:
    acquired: Acquired
    delay: float | None


class QueueWorker(Worker):
    """Serves lanes with tasks, `slots` at a time. `serve()` runs until `stop()`; `drain()` waits for what runs."""

    def __init__(
        self,
        *,
        redis: ArqRedis,
        keys: Keys,
        lanes: Sequence[Lane],
        tasks: Mapping[str, Task],
        default_task: str,
        slots: int,
        lease_seconds: float,
        context: dict[str, object],
    ) -> None:
        super().__init__(
            functions=[func(task, name=name, timeout=None) for name, task in tasks.items()],  # type: ignore[arg-type]  # arq wants a Protocol with *args
            redis_pool=redis,
            queue_name=keys.lane(lanes[0]),
            handle_signals=False,
            max_jobs=slots,
            keep_result=0,
            ctx=context,
            job_serializer=dumps,
            job_deserializer=loads,
            log_results=False,
        )
        self.keys = keys
        self.lanes = tuple(lanes)
        self.default_task = default_task
        self.lease_seconds = lease_seconds
        self.held: dict[str, Acquired] = {}
        self._shares = Shares([LANE_WEIGHTS[lane] for lane in lanes])
        self._wake_event = asyncio.Event()
        self._claim_script = redis.register_script(scripts.CLAIM)
        self._finish_script = redis.register_script(scripts.FINISH)
        self._heartbeat_script = redis.register_script(scripts.HEARTBEAT)
        self._finishes: Batcher[_Finish, None] = Batcher("queue_finish", self._finish_many, max_rows=500)

    @property
    def free_slots(self) -> int:
        return self.max_jobs - self.job_counter

    def wake(self) -> None:
        """Something may be due. Called by the subscription, by a freed slot, and after a reconnect."""
        self._wake_event.set()

    def stop(self) -> None:
        """Claims nothing more; what runs goes on."""
        self.allow_pick_jobs = False
        self.wake()

    async def drain(self, seconds: float) -> int:
        """Waits for what runs, at most `seconds`. Answers how many are still running."""
        running = list(self.tasks.values())
        if not running:
            return 0
        _, pending = await asyncio.wait(running, timeout=seconds)
        return len(pending)

    async def main(self) -> None:
        """The loop: poll until stopped, whatever Redis does meanwhile."""
        heart = asyncio.create_task(self._keep_leases(), name="queue-heartbeat")
        try:
            while self.allow_pick_jobs:
                try:
                    await self._poll_iteration()
                except RedisFault as error:
                    log.warning("queue_poll_failed", error=type(error).__name__)
                    await self._wait(_FAULT_SECONDS)
                except Exception:
                    log.exception("queue_poll_crashed")
                    await self._wait(_FAULT_SECONDS)
        finally:
            heart.cancel()

    async def _poll_iteration(self) -> None:
        """Claims as many as slots are free, then waits for a message, a slot, the next due time, or the tick."""
        self._wake_event.clear()
        wanted = min(self.free_slots, _MAX_CLAIM)
        if wanted <= 0:
            await self._wait(_TICK_SECONDS)
            return
        acquired, due_in = await self._claim(wanted)
        for each in acquired:
            self._start(each)
        if len(acquired) < wanted:
            await self._wait(_TICK_SECONDS if due_in is None else min(_TICK_SECONDS, max(due_in, 0.001)))

    async def _claim(self, wanted: int) -> tuple[list[Acquired], float | None]:
        token = uuid.uuid4().hex
        answer = await self._claim_script(
            keys=[self.keys.lane(lane) for lane in self.lanes],
            args=[token, int(self.lease_seconds * 1000), *self._shares.split(wanted)],
        )
        due_in_ms, score, *rest = answer
        acquired = [
            Acquired(
                lane=self.lanes[lane],
                member=member.decode(),
                token=token,
                score=score,
                function=function_of(body) or self.default_task,
            )
            for lane, member, body in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
        ]
        return acquired, None if due_in_ms < 0 else due_in_ms / 1000

    def _start(self, acquired: Acquired) -> None:
        running = acquired.member in self.held
        self.held[acquired.member] = acquired
        if running:
            # The lease in Redis lapsed and came back to us: the run goes on, under the new token.
            return
        self.job_counter += 1
        task = self.loop.create_task(self.run_job(acquired.member, acquired.score), name=acquired.member)
        self.tasks[acquired.member] = task
        task.add_done_callback(lambda _: self._ended(acquired.member))

    def _ended(self, member: str) -> None:
        self.tasks.pop(member, None)
        self.held.pop(member, None)
        self._release_sem_dec_counter_on_complete()

    def _release_sem_dec_counter_on_complete(self) -> None:
        """A freed slot wakes the loop at once."""
        self.job_counter -= 1
        self.wake()

    async def run_job(self, job_id: str, score: int) -> None:  # noqa: ARG002 - arq's signature
        """Runs one member's task and finishes it in Redis. Never raises: a job's failure is not the worker's."""
        acquired = self.held[job_id]
        delay: float | None = None
        try:
            if parse_member(job_id) is None:
                log.warning("queue_foreign_member", lane=acquired.lane)
            elif acquired.function not in self.functions:
                # A newer version rang it: leave it to a worker that knows the task.
                log.warning("queue_unknown_task", task=acquired.function, member=job_id)
                delay = _UNKNOWN_TASK_SECONDS
            else:
                delay = await self.functions[acquired.function].coroutine(self.ctx, job_id)
                self.jobs_complete += 1
        except Exception:
            self.jobs_failed += 1
            log.exception("queue_task_crashed", task=acquired.function, member=job_id)
        try:
            await self._finishes.submit(_Finish(self.held[job_id], delay))
        except RedisFault as error:
            # The lease in Redis runs out by itself; PostgreSQL already knows how the job ended.
            log.warning("queue_finish_failed", error=type(error).__name__, member=job_id)

    async def _finish_many(self, rows: Sequence[_Finish]) -> list[None]:
        arguments: list[str | int] = []
        for row in rows:
            held = row.acquired
            delay = "" if row.delay is None else max(0, int(row.delay * 1000))
            arguments += [self.keys.lane(held.lane), held.member, held.token, held.score, delay]
        await self._finish_script(args=arguments)
        if any(row.delay is not None for row in rows):
            self.wake()
        return [None] * len(rows)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            held = list(self.held.values())
            for start in range(0, len(held), _MAX_CLAIM):
                try:
                    await self._renew(held[start : start + _MAX_CLAIM])
                except RedisFault as error:
                    log.warning("queue_heartbeat_failed", error=type(error).__name__)

    async def _renew(self, held: Sequence[Acquired]) -> None:
        arguments: list[str | int] = [int(self.lease_seconds * 1000)]
        for each in held:
            arguments += [self.keys.lane(each.lane), each.member, each.token, each.score]
        scores = await self._heartbeat_script(args=arguments)
        for each, score in zip(held, scores, strict=True):
            if score and each.member in self.held:
                self.held[each.member] = replace(each, score=int(score))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake_event.wait()
        except TimeoutError:
            return
