"""The arq worker that inferd runs: claims batches in one Lua call, wakes by message, survives Redis.

A subclass of arq 0.28.0's Worker, whose loop sleeps half a second, claims one job in four round trips and dies of
any exception. Overridden here, and pinned by tests/queue/test_arq_contract.py: `main`, `_poll_iteration`,
`run_job`, `_release_sem_dec_counter_on_complete`. A stock arq worker may serve the same lanes. Run by
worker/lifecycle.py.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func

from core.db.faults import STORE_FAULTS
from core.db.grouping import Grouper
from core.domain.run_again import AT_FRONT, DONE, After, Done, RunAgain
from core.queue.admission import Admissions, Admit, Task, run_admitted
from core.queue.claims import MAX_BATCH, Acquired, Finished, keep_holds, open_claims
from core.queue.connect import RedisFault, end_if_cancelled
from core.queue.fallback import Fallback, Source
from core.queue.fleet import TenantCaps
from core.queue.keys import Keys, Lane, parse_member
from core.queue.payload import dumps, loads
from core.queue.shares import Slots

_TICK_SECONDS: Final = 1.0
# After a fault, and after one that goes on.
_FAULT_SECONDS: Final = (0.1, 0.1, 0.2, 0.5, 1.0)
# When a task runs again that this worker can't run now: it crashed, is unknown here, or a store is away.
_LATER: Final = After(2.0)

log = structlog.get_logger(__name__)


class QueueWorker(Worker):
    """Serves lanes with tasks, `slots` at a time. `main()` runs until `stop()` and until everything has ended."""

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
        still_ours: Callable[[str], bool] = lambda _: True,
        may_claim: Callable[[], bool] = lambda: True,
        caps: TenantCaps | None = None,
        name: str = "",
        source: Source | None = None,
        admit: Mapping[str, Admit] | None = None,
    ) -> None:
        """`still_ours` says whether a running member's hold may be renewed: not when its lease may be over.

        `may_claim` says whether anything new may begin; whoever makes it true again calls `wake()`. `name` is the
        worker's, as in its wake channel. `source` finds due members while Redis can't. `admit` is by a task's name.
        """
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
        self.default_task = default_task
        self.lease_seconds = lease_seconds
        self.held: dict[str, Acquired] = {}
        self._still_ours = still_ours
        self._may_claim = may_claim
        self._admissions = Admissions(admit or {})
        self._contested = False
        self._left_some = True
        self._slots = Slots(slots, lanes)
        self._wake_event = asyncio.Event()
        self._idle = asyncio.Event()
        self._claims = open_claims(redis, keys, lanes, lease_seconds, caps=caps, worker=name)
        self._fallback = Fallback(source)
        self._finishes: Grouper[Finished, None] = Grouper("queue_finish", self._finish_many, max_rows=MAX_BATCH)

    def wake(self) -> None:
        """Makes the loop look now. Called by the subscription, by a freed slot, and after a reconnect."""
        self._wake_event.set()

    def stop(self) -> None:
        """Claims nothing more; running tasks go on."""
        self.allow_pick_jobs = False
        self.wake()

    async def drain(self, seconds: float) -> int:
        """After `stop()`: waits for what runs, at most `seconds`. Returns how many are still running."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.info("queue_still_running", count=len(self.tasks))
        return len(self.tasks)

    async def main(self) -> None:
        """Polls until stopped, then waits for what runs; whatever Redis does meanwhile."""
        parts = [asyncio.create_task(keep_holds(self._claims, self._ours), name="queue-heartbeat")]
        if self._fallback.source is not None:
            parts.append(asyncio.create_task(self._fallback.run(self._take_unclaimed), name="queue-fallback"))
        faults = 0
        try:
            while self.allow_pick_jobs:
                if await self._poll_safely(first=faults == 0):
                    faults = 0
                    continue
                end_if_cancelled()
                await self._wait(_FAULT_SECONDS[min(faults, len(_FAULT_SECONDS) - 1)])
                faults += 1
            await self._claims.leave()
            while self.tasks:
                await asyncio.wait(list(self.tasks.values()))
            self._idle.set()
        finally:
            for part in parts:
                part.cancel()

    def _ours(self) -> list[Acquired]:
        return [each for each in self.held.values() if each.token and self._still_ours(each.member)]

    async def _take_unclaimed(self, source: Source) -> None:
        """Starts due members that PostgreSQL names, held in Redis by nobody."""
        free = self.max_jobs - self.job_counter
        if not self.allow_pick_jobs or free <= 0 or not self._may_claim():
            return
        taken = [
            acquired
            for lane, member in await source(min(free, self._fallback.most))
            if member not in self.held
            and self._may_start(lane)
            and self._take(acquired := Acquired(lane, member, token="", function=None))
        ]
        self._start(taken)

    def _may_start(self, lane: Lane) -> bool:
        return self.allow_pick_jobs and self._slots.has_room(lane)

    async def _poll_safely(self, *, first: bool) -> bool:
        """`first` is whether a fault would be news."""
        try:
            await self._poll_iteration()
        except RedisFault as error:
            self._fallback.redis_failed()
            if first:
                log.warning("queue_poll_failed", error=type(error).__name__)
            return False
        except Exception:
            log.exception("queue_poll_crashed")
            return False
        return True

    async def _poll_iteration(self) -> None:
        """Claims as many as slots are free, then waits for a message, a slot, the next due time, or the tick."""
        self._wake_event.clear()
        # Jitter keeps workers that were woken together from looking together.
        tick = _TICK_SECONDS * random.uniform(0.8, 1.0)  # noqa: S311 - jitter is no secret
        wanted = min(self.max_jobs - self.job_counter, MAX_BATCH)
        if wanted <= 0 or not self._may_claim():
            await self._wait(_TICK_SECONDS)
            return
        shares, kept = self._slots.split(wanted, contested=self._contested)
        rooms, running = self._slots.rooms(), self.job_counter
        claimed = await self._claims.claim(shares, kept, rooms)
        freed_meanwhile = self.job_counter < running
        self._contested = claimed.contested
        self._fallback.redis_answered(full=claimed.full)
        self._left_some = True
        if not self.allow_pick_jobs:
            # Stopped while the claim was under way: others may have them now.
            await self._claims.finish([Finished(each, AT_FRONT) for each in claimed.acquired], leaving=True)
            return
        self._start([each for each in claimed.acquired if self._take(each)])
        if len(claimed.acquired) < wanted:
            # Not all that waited may have been taken: a lane had no more room, or slots are kept for other tenants.
            self._left_some = self._contested or len(claimed.acquired) >= min(rooms)
            if self._left_some and freed_meanwhile:
                return
            await self._wait(tick if claimed.due_in is None else min(tick, max(claimed.due_in, 0.001)))

    def _take(self, acquired: Acquired) -> bool:
        """Gives it a slot. False: it has one already."""
        running, self.held[acquired.member] = acquired.member in self.held, acquired
        if running:
            # Enqueued again, or its hold expired, and claimed by this worker again: another run follows this one.
            return False
        self.job_counter += 1
        self._slots.take(acquired.lane)
        return True

    def _start(self, taken: Sequence[Acquired]) -> None:
        """Begins the tasks; those with an Admit are first admitted together."""
        alone, together = self._admissions.sort(taken, self.default_task)
        for each in alone:
            self._begin(each)
        for name, asked in together.items():
            asking = self.loop.create_task(self._ask(name, asked), name=f"admit-{name}")
            self.tasks.update((each.member, asking) for each in asked)
            asking.add_done_callback(partial(self._asked, asked))

    async def _ask(self, name: str, asked: Sequence[Acquired]) -> None:
        await self._admissions.ask(name, self.ctx, asked)
        for each in asked:
            self._begin(each)

    def _asked(self, asked: Sequence[Acquired], asking: "asyncio.Task[None]") -> None:
        """Frees the slots if the admission was cancelled, because no task has begun."""
        for each in asked:
            if self.tasks.get(each.member) is asking:
                self._ended(each.lane, each.member, asking)

    def _begin(self, taken: Acquired) -> None:
        task = self.loop.create_task(self.run_job(taken.member, 0), name=taken.member)
        self.tasks[taken.member] = task
        task.add_done_callback(partial(self._ended, taken.lane, taken.member))

    def _ended(self, lane: Lane, member: str, task: "asyncio.Task[None]") -> None:
        self._slots.give_back(lane)
        if self.tasks.get(member) is task:
            del self.tasks[member]
            # Still there when the task was cancelled before its first step.
            self.held.pop(member, None)
            self._admissions.pop(member)
        self._release_sem_dec_counter_on_complete()

    def _release_sem_dec_counter_on_complete(self) -> None:
        """A freed slot wakes the loop at once, where the last claim left something behind that a slot may be for."""
        self.job_counter -= 1
        if self._left_some:
            self.wake()

    async def run_job(self, job_id: str, score: int) -> None:  # noqa: ARG002 - arq's signature
        """Runs one member's task and lets go of it in Redis. Never raises: a job's failure is not the worker's."""
        try:
            token = self._admissions.token(self.held[job_id])
            again = await self._run_task(self.held[job_id])
            while True:
                held = self.held[job_id]
                if held.token != token:
                    # It came to us again while it ran: there is another run to do.
                    token, again = held.token, AT_FRONT
                if not token and (isinstance(again, Done) or self._fallback.is_needed):
                    # Nobody holds it in Redis; when it is to run again, PostgreSQL knows.
                    return
                await self._finishes.submit(Finished(held, again))
                if self.held[job_id].token == token:
                    return
        except Exception as error:  # noqa: BLE001 - the hold lapses by itself; PostgreSQL knows how the job ended
            log.warning("queue_finish_failed", error=type(error).__name__)
        finally:
            del self.held[job_id]

    async def _run_task(self, acquired: Acquired) -> RunAgain:
        """What the task returned; a task that crashed runs again. Raises nothing but CancelledError."""
        name, admission = acquired.function or self.default_task, self._admissions.pop(acquired.member)
        if parse_member(acquired.member) is None:
            log.warning("queue_unknown_member", lane=acquired.lane)
            return DONE
        if name not in self.functions:
            # A newer release enqueued it: leave it to a worker that knows the task.
            log.warning("queue_unknown_task", task=name, member=acquired.member)
            return _LATER
        try:
            again = await run_admitted(self.functions[name].coroutine, self.ctx, acquired.member, admission)
        except Exception as error:
            self.jobs_failed += 1
            if isinstance(error, STORE_FAULTS):
                log.warning("queue_task_put_back", task=name, member=acquired.member, error=type(error).__name__)
            else:
                log.exception("queue_task_crashed", task=name, member=acquired.member)
            return _LATER
        self.jobs_complete += 1
        return again

    async def _finish_many(self, rows: Sequence[Finished]) -> list[None]:
        unparked = await self._claims.finish(rows, leaving=not self.allow_pick_jobs)
        if unparked or any(not isinstance(row.again, Done) for row in rows):
            # There is more to take, or the next due time may have come closer.
            self.wake()
        return [None] * len(rows)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake_event.wait()
