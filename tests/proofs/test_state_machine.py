"""No sequence of events breaks an invariant: Hypothesis plays submits, workers, callers, sweeps, crashes and a Redis that
loses what it likes, over the real SQL and the real Redis, against a model in Python.

After each step the rows must be those of the model, and the invariants I1 to I8 must hold (tests/proofs/invariants.py).
At the end of each run a healthy worker must bring every job and every delivery to its end (I2). The default run is
always the same; `PROVE=full` plays many more, at random, and longer ones.
"""

import asyncio
import copy
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from core.domain import transitions
from core.domain.ids import JobId
from core.domain.job_state import TERMINAL, JobState
from core.domain.retry import DEFAULT_POLICY, Budget, Disposition, decide
from core.domain.transitions import Transition
from core.jobs.records import ClaimedJob
from core.queue.claims import Acquired, Finished
from core.queue.keys import IN_PROGRESS, JOB_LANES, PAYLOAD, Lane, job_member, parse_member
from core.queue.ring import ring_job
from core.settings import Settings
from core.webhooks.store import ClaimedDelivery
from tests.proofs import invariants
from tests.proofs.job_model import Model
from tests.proofs.long_run import LONG
from tests.proofs.operations import (
    Operation,
    Wish,
    beating,
    calling,
    cancelling,
    claiming,
    deleting,
    expiring,
    finishing,
    pruning,
    recording,
    rescuing,
    retrying,
    sending,
    submitting,
)
from tests.proofs.world import World, open_world
from tests.support.jobs import answer, failure

WORKERS = st.integers(0, 1)
TENANTS = st.integers(0, 1)
ENDS = st.sampled_from(["answer", "retry", "throttled", "fatal", "drained", "expired"])
PLAY = profile(
    max_examples=3000 if LONG else 60,
    stateful_step_count=80 if LONG else 40,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Sent:
    """A POST that is on its way: which delivery of which job, under which lease."""

    job_id: UUID
    index: int
    claimed: ClaimedDelivery


class JobMachine(RuleBasedStateMachine):
    """One run: starts with nothing and ends with nothing."""

    jobs: Bundle[UUID] = Bundle("jobs")
    # What came of a claim, which a race may leave empty: the steps must not depend on who wins one.
    runs: Bundle[list[ClaimedJob]] = Bundle("runs")
    sent: Bundle[list[Sent]] = Bundle("sent")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.model = Model()
        self.made: list[UUID] = []
        self.held: dict[tuple[UUID, int], Acquired] = {}
        self.cancelled: dict[UUID, int] = {}
        self.before = world.run(world.look())
        self.sound = True

    # One operation, or two at once

    def play(self, operation: Operation) -> Any:
        self.sound = False
        given = self.world.run(operation.act())
        assert given == operation.expect(self.model)
        self.sound = True
        return given

    def race(self, first: Operation, second: Operation) -> None:
        """Both at the same time: the answers and the rows must be those of one of the two orders."""

        async def both() -> list[Any]:
            given = await asyncio.gather(first.act(), second.act())
            await self.world.settle()
            return given

        self.sound = False
        given = self.world.run(both())
        view = self.world.run(self.world.look()).jobs
        outcomes = []
        for order in ((first, second), (second, first)):
            model = copy.deepcopy(self.model)
            expected = {id(operation): operation.expect(model) for operation in order}
            outcomes.append(([expected[id(first)], expected[id(second)]], model))
        fitting = [model for expected, model in outcomes if expected == given and model.view() == view]
        assert fitting, (given, view, [(expected, model.view()) for expected, model in outcomes])
        self.model = fitting[0]
        self.sound = True

    # Callers

    @rule(
        target=jobs,
        tenant=TENANTS,
        key=st.sampled_from([None, None, "a", "b"]),
        fingerprint=st.sampled_from([b"1", b"1", b"1", b"2"]),
        max_attempts=st.integers(1, 3),
        later=st.sampled_from([False, False, False, True]),
        deadline=st.booleans(),
        webhook=st.booleans(),
    )
    def submit(self, *, tenant: int, **wishes: Any) -> Any:
        wish = Wish(tenant_id=self.world.tenants[tenant].id, **wishes)
        answer = self.play(submitting(self.world, wish, self.made))
        return self.made[-1] if answer == "new" else multiple()

    @rule(job=jobs, tenant=TENANTS)
    def cancel(self, job: UUID, tenant: int) -> None:
        _, changed = self.play(cancelling(self.world, self.world.tenants[tenant].id, job))
        if changed:
            self.cancelled[job] = self.model.jobs[job].version

    @rule(job=jobs, tenant=TENANTS)
    def retry(self, job: UUID, tenant: int) -> None:
        self.play(retrying(self.world, self.world.tenants[tenant].id, job))

    @rule(job=jobs, tenant=TENANTS)
    def delete(self, job: UUID, tenant: int) -> None:
        self.play(deleting(self.world, self.world.tenants[tenant].id, job))

    # Workers

    @rule(target=runs, worker=WORKERS, shares=st.sampled_from([[1, 1, 1], [0, 1, 0], [0, 3, 0]]))
    def claim_from_redis(self, worker: int, shares: list[int]) -> list[ClaimedJob]:
        acquired, _ = self.world.run(self.world.claims.claim(shares))
        started: list[ClaimedJob] = []
        for each in acquired:
            job_id = parse_member(each.member)
            answer = "refused" if job_id is None else self._claim(worker, job_id, started)
            if answer == "claimed":
                self.held[started[-1].id, started[-1].run_no] = each
            else:
                delay = 60.0 if answer == "not_due" else None
                self.world.run(self.world.claims.finish([Finished(each, delay)]))
        return started

    @rule(target=runs, worker=WORKERS, job=jobs)
    def claim_what_was_not_rung(self, worker: int, job: UUID) -> list[ClaimedJob]:
        started: list[ClaimedJob] = []
        self._claim(worker, job, started)
        return started

    def _claim(self, worker: int, job_id: UUID, started: list[ClaimedJob]) -> str:
        return str(self.play(claiming(self.world.workers[worker], job_id, started)))

    @rule(worker=WORKERS, runs=runs)
    def call(self, worker: int, runs: list[ClaimedJob]) -> None:
        for run in runs:
            self.play(calling(self.world.workers[worker], run))

    @rule(worker=WORKERS, runs=runs)
    def beat(self, worker: int, runs: list[ClaimedJob]) -> None:
        for run in runs:
            self.play(beating(self.world.workers[worker], run))
            if (held := self.held.get((run.id, run.run_no))) is not None:
                self.world.run(self.world.claims.renew([held]))

    @rule(worker=WORKERS, runs=runs, how=ENDS, later=st.booleans(), dies=st.booleans())
    def finish(self, worker: int, runs: list[ClaimedJob], how: str, *, later: bool, dies: bool) -> None:
        """By its own worker, by one that was stopped for too long, or by one that dies before Redis hears of it."""
        for run in runs:
            delay = self.play(finishing(self.world.workers[worker], run, _transition(run, how, later=later)))
            if (held := self.held.pop((run.id, run.run_no), None)) is not None and not dies:
                self.world.run(self.world.claims.finish([Finished(held, delay)]))

    # Sweeps, time and retention

    @rule(worker=WORKERS)
    def rescue(self, worker: int) -> None:
        self.play(rescuing(self.world.workers[worker]))

    @rule(worker=WORKERS)
    def expire(self, worker: int) -> None:
        self.play(expiring(self.world.workers[worker]))

    @rule()
    def reconcile(self) -> None:
        self.world.run(self.world.reconciler.reconcile())
        self._everything_due_is_in_redis()

    @rule(worker=WORKERS)
    def prune(self, worker: int) -> None:
        self.play(pruning(self.world.workers[worker]))

    @rule(job=jobs)
    def lease_runs_out(self, job: UUID) -> None:
        if job in self.model.jobs and self.model.jobs[job].state is JobState.RUNNING:
            self.model.jobs[job].lease_alive = False
            self._set("jobs", "lease_expires_at = now() - interval '1 s'", job)

    @rule(job=jobs)
    def deadline_passes(self, job: UUID) -> None:
        if job in self.model.jobs and self.model.jobs[job].has_deadline:
            self.model.jobs[job].deadline_passed = True
            self._set("jobs", "deadline_at = now() - interval '1 s'", job)

    @rule(job=jobs)
    def wait_is_over(self, job: UUID) -> None:
        if job in self.model.jobs and self.model.jobs[job].state is JobState.QUEUED:
            self.model.jobs[job].due = True
            self._set("jobs", "run_at = now()", job)

    @rule(key=st.sampled_from(["a", "b"]))
    def key_runs_out(self, key: str) -> None:
        for (_, name), held in self.model.keys.items():
            held.lapsed = held.lapsed or name == key
        self._execute("UPDATE idempotency SET expires_at = now() - interval '1 s' WHERE key = $1", key)

    # Webhooks

    @rule(target=sent, worker=WORKERS, job=jobs, choice=st.integers(0, 3))
    def send(self, worker: int, job: UUID, choice: int) -> list[Sent]:
        deliveries = self.model.jobs[job].deliveries if job in self.model.jobs else []
        if not deliveries:
            return []
        index, started = choice % len(deliveries), list[ClaimedDelivery]()
        self.play(sending(self.world.workers[worker], job, index, started))
        return [Sent(job, index, each) for each in started]

    @rule(worker=WORKERS, sent=sent, state=st.sampled_from(["delivered", "pending", "exhausted"]))
    def record(self, worker: int, sent: list[Sent], state: str) -> None:
        for each in sent:
            self.play(recording(self.world.workers[worker], each.job_id, each.index, each.claimed, state))

    @rule(sent=sent)
    def senders_lease_runs_out(self, sent: list[Sent]) -> None:
        for each in sent:
            if each.job_id in self.model.jobs:
                self.model.jobs[each.job_id].deliveries[each.index].lease_alive = False
                lapsed = "UPDATE deliveries SET lease_expires_at = now() - interval '1 s' WHERE id = $1"
                self._execute(f"{lapsed} AND lease_token IS NOT NULL", each.claimed.id)

    # Redis

    @rule()
    def redis_forgets_everything(self) -> None:
        self.world.run(self.world.forget())

    @rule(job=jobs, what=st.sampled_from(["payload", "hold", "member"]))
    def redis_forgets(self, job: UUID, what: str) -> None:
        redis, keys = self.world.workers[0].redis, self.world.workers[0].keys
        member = job_member(JobId(job))
        match what:
            case "payload":
                self.world.run(_done(redis.delete(PAYLOAD + member)))
            case "hold":
                self.world.run(_done(redis.delete(IN_PROGRESS + member)))
            case _:
                self.world.run(_done(redis.zrem(keys.lane(Lane.STANDARD), member)))

    @rule(job=jobs, lane=st.sampled_from(JOB_LANES))
    def redis_is_told_twice(self, job: UUID, lane: Lane) -> None:
        """A job that ended, that runs, or that never was: rung, and in any lane."""
        self.world.run(self.world.api.jobs.ring.ring_now([ring_job(JobId(job), lane)]))

    @rule(member=st.sampled_from([b"job_nonsense", b"\xff\xfe", b"job_" + b"0" * 32]))
    def redis_holds_what_is_not_ours(self, member: bytes) -> None:
        keys = self.world.workers[0].keys
        self.world.run(_done(self.world.workers[0].redis.zadd(keys.lane(Lane.STANDARD), {member: 1})))

    @rule()
    def waits_in_redis_are_over(self) -> None:
        self.world.run(self.world.let_redis_lapse())

    # Races

    @rule(runs=runs, how=ENDS, tenant=TENANTS)
    def race_cancel_with_the_end(self, runs: list[ClaimedJob], how: str, tenant: int) -> None:
        for run in runs:
            cancel = cancelling(self.world, self.world.tenants[tenant].id, run.id)
            self.race(cancel, finishing(self.world.workers[0], run, _transition(run, how, later=False)))

    @rule(runs=runs, how=ENDS)
    def race_rescue_with_the_end(self, runs: list[ClaimedJob], how: str) -> None:
        for run in runs:
            self.lease_runs_out(run.id)
            end = finishing(self.world.workers[0], run, _transition(run, how, later=False))
            self.race(rescuing(self.world.workers[1]), end)

    @rule(runs=runs)
    def race_rescue_with_a_heartbeat(self, runs: list[ClaimedJob]) -> None:
        for run in runs:
            self.lease_runs_out(run.id)
            self.race(rescuing(self.world.workers[1]), beating(self.world.workers[0], run))

    @rule(target=runs, job=jobs)
    def race_two_claims(self, job: UUID) -> list[ClaimedJob]:
        started: list[ClaimedJob] = []
        self.race(*[claiming(worker, job, started) for worker in self.world.workers])
        return started

    @rule(target=runs, job=jobs, tenant=TENANTS)
    def race_cancel_with_a_claim(self, job: UUID, tenant: int) -> list[ClaimedJob]:
        started: list[ClaimedJob] = []
        cancel = cancelling(self.world, self.world.tenants[tenant].id, job)
        self.race(cancel, claiming(self.world.workers[0], job, started))
        return started

    # After each step, and after the last one

    @invariant()
    def everything_holds(self) -> None:
        self.sound = False
        self.world.run(self.world.settle())
        after = self.world.run(self.world.look())
        assert after.jobs == self.model.view()
        assert after.deleted == self.model.deleted
        invariants.check(self.before, after, accepted=self.made, cancelled=self.cancelled)
        self.before = after
        assert self.world.run(self.world.keys_without_end()) <= self.world.documented_keys()
        self._callers_see_the_truth()
        self.sound = True

    def _callers_see_the_truth(self) -> None:
        """And another tenant sees nothing."""
        reads = self.world.api.jobs.group_commit.reads
        tenants = [tenant.id for tenant in self.world.tenants]

        async def read() -> Sequence[Any]:
            asked = [reads.submit((JobId(job_id), tenant)) for job_id in self.made for tenant in tenants]
            return await asyncio.gather(*asked)

        for (job_id, tenant), record in zip(
            [(job_id, tenant) for job_id in self.made for tenant in tenants], self.world.run(read()), strict=True
        ):
            job = self.model.jobs.get(job_id)
            if job is None or job.tenant_id != tenant:
                assert record is None
            else:
                assert (record.state, record.error_code) == (job.state, job.error_code)
                assert (record.output is not None) == (job.state is JobState.SUCCEEDED)

    def teardown(self) -> None:
        try:
            if self.sound:
                self._a_healthy_worker_ends_everything()
        finally:
            self.world.run(self.world.clean())

    def _a_healthy_worker_ends_everything(self) -> None:
        """I2: whatever happened before, leases run out, one sweep and one worker are enough."""
        for job in self.made:
            self.lease_runs_out(job)
            self.wait_is_over(job)
        self.world.run(self.world.let_redis_lapse())
        self.rescue(0)
        self.expire(0)
        self.reconcile()
        while acquired := self.world.run(self.world.claims.claim([50, 50, 50]))[0]:
            for each in acquired:
                started: list[ClaimedJob] = []
                if (job_id := parse_member(each.member)) is not None and self._claim(0, job_id, started) == "claimed":
                    self.play(calling(self.world.workers[0], started[0]))
                    self.play(finishing(self.world.workers[0], started[0], transitions.succeed(answer())))
                self.world.run(self.world.claims.finish([Finished(each, None)]))
        self.everything_holds()
        assert {job.state for job in self.model.jobs.values()} <= TERMINAL

    def _everything_due_is_in_redis(self) -> None:
        for job in self.model.jobs.values():
            if job.state is JobState.QUEUED and job.due:
                assert self.world.run(self.world.in_lane(Lane.STANDARD, job.id))

    def _set(self, table: str, change: str, row_id: UUID) -> None:
        self._execute(f"UPDATE {table} SET {change} WHERE id = $1", row_id)

    def _execute(self, statement: str, *arguments: object) -> None:
        self.world.run(_done(self.world.owner.execute(statement, *arguments)))


async def _done(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _transition(run: ClaimedJob, how: str, *, later: bool) -> Transition:
    """The edge that execute_job would take, with a wait that is over at once or in an hour."""
    budget = Budget(run.attempts_used, run.max_attempts, run.run_no, None)
    match how:
        case "answer":
            return transitions.succeed(answer(f"run {run.run_no}"))
        case "expired":
            return transitions.expire()
        case "drained":
            return transitions.snooze(failure(error_class="worker_stopped", code="worker_stopped"), 0.0)
        case "retry":
            decided = decide(failure(), Disposition.RETRY, budget, DEFAULT_POLICY, 0.5)
        case "throttled":
            decided = decide(failure(code="rate_limited"), Disposition.SNOOZE, budget, DEFAULT_POLICY, 0.5)
        case _:
            decided = decide(failure(code="bad_request"), Disposition.GIVE_UP, budget, DEFAULT_POLICY, 0.5)
    return decided if decided.delay is None else replace(decided, delay=3600.0 if later else 0.0)


def test_no_sequence_of_events_breaks_an_invariant(settings: Settings) -> None:
    with open_world(settings) as world:
        run_state_machine_as_test(lambda: JobMachine(world), settings=PLAY)
