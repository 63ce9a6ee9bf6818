"""The state machine that Hypothesis plays: callers, workers, sweeps, crashes, time, and a Redis that loses things.

A step draws a Chance only, and picks what it acts on from what there is: a race may end either way, and the steps of
a run must not depend on who won it.
"""

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.domain import transitions
from core.domain.ids import DELIVERY, DeliveryId, JobId, TenantId, parse
from core.domain.job_state import ACTIVE, TERMINAL, JobState
from core.domain.run_again import DONE, After
from core.jobs.records import ClaimedJob
from core.queue.claims import Acquired, Finished
from core.queue.enqueue import job_entry
from core.queue.keys import IN_PROGRESS, JOB_LANES, PAYLOAD, Lane, job_member, parse_member
from core.webhooks.deliveries.records import ClaimedDelivery, Ended
from core.webhooks.egress.exchange import Timing
from tests.proofs import operations as do
from tests.proofs.chances import CHANCE, EVENT, Chance, transition_of
from tests.proofs.job_model import Delivery, Job, Model
from tests.proofs.operations import Operation, Wish, outcomes
from tests.proofs.system import System
from tests.support import invariants
from tests.support.jobs import answer
from tests.support.workers import lose_worker


@dataclass(frozen=True)
class Sent:
    """A POST that is on its way: which delivery of which job, under which lease."""

    job_id: UUID
    index: int
    claimed: ClaimedDelivery


class JobMachine(RuleBasedStateMachine):
    """One run: starts with nothing and ends with nothing."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system = system
        self.model = Model()
        self.made: list[UUID] = []
        self.runs: list[ClaimedJob] = []
        self.sent: list[Sent] = []
        self.held: dict[tuple[UUID, int], Acquired] = {}
        self.cancelled: dict[UUID, int] = {}
        self.before = self.run(system.look())
        self.sound = True

    @initialize(chance=CHANCE)
    def begin(self, chance: Chance) -> None:
        self.submit(replace(chance, rare=False))

    @rule(event=EVENT, chance=CHANCE)
    def happens(self, event: str, chance: Chance) -> None:
        getattr(self, event)(chance)

    # Callers

    def submit(self, chance: Chance) -> None:
        wish = Wish(
            self.tenant(),
            key=[None, "a", "b"][chance.nth % 3],
            fingerprint=b"2" if chance.rarer else b"1",
            max_attempts=1 + chance.nth % 3,
            later=chance.rare,
            deadline=chance.coin,
            webhook=chance.nth > 2,
        )
        self.play(do.submitting(self.system, wish, self.made))

    def caller_cancels(self, chance: Chance) -> None:
        if (job := self.pick(chance.nth, ACTIVE if chance.coin else set(JobState))) is not None:
            _, changed = self.play(do.cancelling(self.system, self.tenant(stranger=chance.rare), job.id))
            if changed:
                self.cancelled[job.id] = self.model.jobs[job.id].version

    def caller_retries(self, chance: Chance) -> None:
        if (job := self.pick(chance.nth, set(JobState) if chance.rarer else TERMINAL)) is not None:
            self.play(do.retrying(self.system, self.tenant(stranger=chance.rare), job.id))

    def caller_deletes(self, chance: Chance) -> None:
        if (job := self.pick(chance.nth, set(JobState))) is not None:
            self.play(do.deleting(self.system, self.tenant(stranger=chance.rare), job.id))

    # Workers

    def claim(self, chance: Chance) -> None:
        """What Redis says is due."""
        self.claim_some(chance.worker, [1, 1, 1] if chance.coin else [0, 3, 0])

    def claim_some(self, worker: int, shares: Sequence[int]) -> None:
        acquired = self.run(self.system.claims.claim(shares)).acquired
        for each in acquired:
            job_id = parse_member(each.member)
            given = "refused" if job_id is None else self.play(self.claiming(worker, job_id))
            if given == "claimed":
                self.held[self.runs[-1].id, self.runs[-1].run_no] = each
            else:
                again = After(60) if given == "not_due" else DONE
                self.run(self.system.claims.finish([Finished(each, again)]))

    def claim_any(self, chance: Chance) -> None:
        """What Redis says is only a hint: a job in any state, or one that was deleted."""
        self.play(self.claiming(chance.worker, self.made[chance.nth % len(self.made)]))

    def call(self, chance: Chance) -> None:
        if (run := self.pick_run(chance, stale=chance.rare)) is not None:
            self.play(do.calling(self.system.workers[chance.worker], run))

    def look(self, chance: Chance) -> None:
        if (run := self.pick_run(chance, stale=chance.rare)) is not None:
            self.play(do.looking(self.system, run))
            if (held := self.held.get((run.id, run.run_no))) is not None:
                self.run(self.system.claims.renew([held]))

    def finish(self, chance: Chance) -> None:
        """By its own worker, by one that was stopped for too long, or by one that dies before it writes to Redis."""
        if (run := self.pick_run(chance, stale=chance.rare)) is not None:
            transition = transition_of(run, chance.how, later=chance.rarer)
            again = self.play(do.finishing(self.system.workers[chance.worker], run, transition))
            if (held := self.held.pop((run.id, run.run_no), None)) is not None and not chance.rarer:
                self.run(self.system.claims.finish([Finished(held, again)]))

    # Webhooks

    def send(self, chance: Chance) -> None:
        published = [job for job in self.model.jobs.values() if job.deliveries]
        if published:
            job = published[chance.nth % len(published)]
            index, started = chance.nth % len(job.deliveries), list[ClaimedDelivery]()
            self.play(do.sending(self.system.workers[chance.worker], job.id, index, started))
            self.sent += [Sent(job.id, index, each) for each in started]

    def record(self, chance: Chance) -> None:
        if self.sent:
            each = self.sent[-1 - chance.nth % len(self.sent)]
            state = "exhausted" if chance.rare else "delivered" if chance.coin else "pending"
            self.play(do.recording(self.system.workers[chance.worker], each.job_id, each.index, each.claimed, state))

    def sender_is_gone(self, chance: Chance) -> None:
        if self.sent:
            each = self.sent[-1 - chance.nth % len(self.sent)]
            if each.job_id in self.model.jobs:
                self.model.jobs[each.job_id].deliveries[each.index].lease_alive = False
            lapse = "UPDATE deliveries SET lease_expires_at = now() - interval '1 s' WHERE id = $1"
            self.execute(f"{lapse} AND lease_token IS NOT NULL", each.claimed.id)

    # Sweeps, time and retention

    def sweep(self, chance: Chance) -> None:
        worker = self.system.workers[chance.worker]
        self.play(do.rescuing(worker))
        self.play(do.expiring(worker))
        self.run(self.system.reconciler.reconcile())
        for job in self.model.jobs.values():
            if job.state is JobState.QUEUED and job.due:
                assert self.run(self.system.in_lane(Lane.STANDARD, job.id))

    def prune(self, chance: Chance) -> None:
        self.play(do.pruning(self.system.workers[chance.worker]))

    def lease_runs_out(self, chance: Chance) -> None:
        if (job := self.pick(chance.nth, {JobState.RUNNING})) is not None:
            self.let_lease_lapse(job)

    def deadline_passes(self, chance: Chance) -> None:
        ahead = [job for job in self.model.jobs.values() if job.has_deadline]
        if ahead:
            job = ahead[chance.nth % len(ahead)]
            job.deadline_passed = True
            self.execute("UPDATE jobs SET deadline_at = now() - interval '1 s' WHERE id = $1", job.id)

    def wait_is_over(self, chance: Chance) -> None:
        waiting = [job for job in self.model.jobs.values() if job.state is JobState.QUEUED and not job.due]
        if waiting:
            self.make_due(waiting[chance.nth % len(waiting)])

    def key_runs_out(self, chance: Chance) -> None:
        key = "a" if chance.coin else "b"
        for (_, name), held in self.model.keys.items():
            held.lapsed = held.lapsed or name == key
        self.execute("UPDATE idempotency SET expires_at = now() - interval '1 s' WHERE key = $1", key)

    # Redis

    def redis_forgets(self, chance: Chance) -> None:
        redis, keys = self.system.workers[0].redis, self.system.workers[0].keys
        member = job_member(JobId(self.made[chance.nth % len(self.made)]))
        if chance.rare:
            self.run(self.system.forget())
        elif chance.coin:
            self.run(redis.zrem(keys.lane(Lane.STANDARD), member))
        else:
            self.run(redis.delete((PAYLOAD if chance.rarer else IN_PROGRESS) + member))

    def redis_is_told_again(self, chance: Chance) -> None:
        """Of a job that ended, that runs, or that was deleted; and in any lane."""
        job_id = JobId(self.made[chance.nth % len(self.made)])
        self.run(self.system.api.jobs.enqueuer.enqueue_now([job_entry(job_id, JOB_LANES[chance.nth % len(JOB_LANES)])]))

    def redis_holds_what_is_not_ours(self, chance: Chance) -> None:
        member = (b"job_nonsense", b"\xff\xfe", b"job_" + b"0" * 32)[chance.nth % 3]
        self.run(self.system.workers[0].redis.zadd(self.system.workers[0].keys.lane(Lane.STANDARD), {member: 1}))

    def waits_in_redis_are_over(self, _: Chance) -> None:
        self.run(self.system.let_redis_lapse())

    # Races

    def race_cancel_with_the_end(self, chance: Chance) -> None:
        if (run := self.pick_run(chance, stale=chance.rare)) is not None:
            cancel = do.cancelling(self.system, self.tenant(), run.id)
            self.race(cancel, do.finishing(self.system.workers[0], run, transition_of(run, chance.how, later=False)))

    def race_rescue_with_the_end(self, chance: Chance) -> None:
        if (run := self.pick_run(chance, stale=chance.rare)) is not None:
            self.lease_runs_out(chance)
            end = do.finishing(self.system.workers[0], run, transition_of(run, chance.how, later=False))
            self.race(do.rescuing(self.system.workers[1]), end)

    def race_rescue_with_a_look(self, chance: Chance) -> None:
        if (run := self.pick_run(chance, stale=False)) is not None:
            self.lease_runs_out(chance)
            self.race(do.rescuing(self.system.workers[1]), do.looking(self.system, run))

    def race_two_claims(self, chance: Chance) -> None:
        if (job := self.pick(chance.nth, {JobState.QUEUED})) is not None:
            self.race(self.claiming(0, job.id), self.claiming(1, job.id))

    def race_cancel_with_a_claim(self, chance: Chance) -> None:
        if (job := self.pick(chance.nth, {JobState.QUEUED})) is not None:
            self.race(do.cancelling(self.system, self.tenant(), job.id), self.claiming(0, job.id))

    # After each step, and after the last one

    @invariant()
    def everything_holds(self) -> None:
        self.sound = False
        after = self.run(self.system.look())
        assert after.jobs == self.model.view()
        assert after.deleted == self.model.deleted
        invariants.check_step(self.before, after, accepted=self.made, cancelled=self.cancelled)
        changed = [job_id for job_id in self.made if self.before.jobs.get(job_id) != after.jobs.get(job_id)]
        if changed:
            self.callers_see_the_truth(changed)
        assert self.run(self.system.keys_without_end()) == set()
        self.before = after
        self.sound = True

    def callers_see_the_truth(self, job_ids: Sequence[UUID]) -> None:
        """And another tenant sees nothing."""
        read = self.system.api.jobs.group_commit.read
        asked = [(JobId(job_id), tenant.id) for job_id in job_ids for tenant in self.system.tenants]

        async def read_all() -> Sequence[Any]:
            return await asyncio.gather(*[read(*each) for each in asked])

        for (job_id, tenant_id), record in zip(asked, self.run(read_all()), strict=True):
            job = self.model.jobs.get(job_id)
            if job is None or job.tenant_id != tenant_id:
                assert record is None
            else:
                assert (record.state, record.error_code) == (job.state, job.error_code)
                assert (record.output is not None) == (job.state is JobState.SUCCEEDED)

    def teardown(self) -> None:
        try:
            if self.sound:
                self.a_healthy_worker_ends_everything()
        finally:
            self.run(self.system.clean())

    def a_healthy_worker_ends_everything(self) -> None:
        """I2: whatever happened before, when leases have run out, one sweep and one worker are enough."""
        for job in self.model.jobs.values():
            if job.state is JobState.RUNNING:
                self.let_lease_lapse(job)
            if job.state is JobState.QUEUED:
                self.make_due(job)
        self.run(self.system.let_redis_lapse())
        self.sweep(Chance(0, 0, "", coin=False, rare=False, rarer=False))
        while any(job.state is JobState.QUEUED for job in self.model.jobs.values()):
            known = len(self.runs)
            self.claim_some(0, [50, 50, 50])
            assert len(self.runs) > known
            for run in self.runs[known:]:
                self.play(do.calling(self.system.workers[0], run))
                self.play(do.finishing(self.system.workers[0], run, transitions.succeed(answer())))
        self.a_healthy_sender_delivers_everything()
        self.everything_holds()
        assert {job.state for job in self.model.jobs.values()} <= TERMINAL

    def a_healthy_sender_delivers_everything(self) -> None:
        """I7: what was published is delivered, by what the sweep enqueues alone."""
        for job in self.model.jobs.values():
            for delivery in job.deliveries:
                delivery.lease_alive = False
        self.execute("UPDATE deliveries SET lease_expires_at = now() - interval '1 s' WHERE lease_token IS NOT NULL")
        while any(each.state == "pending" for each in self.published()):
            self.run(self.system.let_redis_lapse())
            self.run(self.system.reconciler.reconcile())
            acquired = self.run(self.system.delivery_claims.claim([50])).acquired
            assert acquired
            for each in acquired:
                place = self.run(self.system.place_of(each.member))
                if place is not None and place[0] in self.model.jobs:
                    self.deliver(*place)
                elif place is not None:
                    self.deliver_of_deleted(place[0], each.member)
                self.run(self.system.delivery_claims.finish([Finished(each, DONE)]))

    def published(self) -> list[Delivery]:
        """Of the jobs that there are, and of those that were deleted with something still to be sent."""
        of_jobs = [each for job in self.model.jobs.values() for each in job.deliveries]
        return of_jobs + [each for deliveries in self.model.outliving.values() for each in deliveries]

    def deliver_of_deleted(self, job_id: UUID, member: str) -> None:
        """A job that is gone has no n-th delivery any more: it is known by its event."""
        deliveries = self.system.workers[0].deliveries
        claimed = self.run(deliveries.claim(DeliveryId(parse(DELIVERY, member))))
        if isinstance(claimed, ClaimedDelivery):
            ended = Ended(claimed, "delivered", datetime.now(UTC), Timing(), status=200)
            assert self.run(deliveries.record(ended))
            waiting = [each for each in self.model.outliving[job_id] if each.state == "pending"]
            next(each for each in waiting if each.event_type == claimed.event_type).state = "delivered"

    def deliver(self, job_id: UUID, index: int) -> None:
        """If it may be sent by now."""
        started: list[ClaimedDelivery] = []
        if self.play(do.sending(self.system.workers[0], job_id, index, started)):
            assert self.play(do.recording(self.system.workers[0], job_id, index, started[0], "delivered"))

    # How rules act

    def run(self, awaitable: Awaitable[Any]) -> Any:
        return self.system.run(awaitable)

    def play(self, operation: Operation) -> Any:
        self.sound = False
        given = self.run(operation.act())
        expected = operation.expect(self.model)
        assert given == expected
        self.sound = True
        return given

    def race(self, first: Operation, second: Operation) -> None:
        """Both at the same time."""

        async def both() -> list[Any]:
            return list(await asyncio.gather(first.act(), second.act()))

        self.sound = False
        given = self.run(both())
        view = self.run(self.system.look()).jobs
        possible = list(outcomes(self.model, first, second))
        fitting = [model for expected, model in possible if expected == given and model.view() == view]
        assert fitting, (given, view, [(expected, model.view()) for expected, model in possible])
        self.model = fitting[0]
        self.sound = True

    def claiming(self, worker: int, job_id: UUID) -> Operation:
        return do.claiming(self.system.workers[worker], job_id, self.runs)

    def pick(self, nth: int, states: Collection[JobState]) -> Job | None:
        fitting = [job for job in self.model.jobs.values() if job.state in states]
        return fitting[nth % len(fitting)] if fitting else None

    def pick_run(self, chance: Chance, *, stale: bool) -> ClaimedJob | None:
        """One that holds its job; or one that did, best of a job that somebody else runs by now."""
        jobs = self.model.jobs
        held = [run for run in self.runs if run.id in jobs and jobs[run.id].is_held_by(run.run_no)]
        if stale:
            lost = [run for run in self.runs if run not in held]
            held = [run for run in lost if run.id in jobs and jobs[run.id].state is JobState.RUNNING] or lost
        return held[chance.nth % len(held)] if held else None

    def tenant(self, *, stranger: bool = False) -> TenantId:
        return self.system.tenants[1 if stranger else 0].id

    def let_lease_lapse(self, job: Job) -> None:
        job.lease_alive = False
        self.run(lose_worker(self.system.owner, job.id))

    def make_due(self, job: Job) -> None:
        job.due = True
        self.execute("UPDATE jobs SET run_at = now() WHERE id = $1", job.id)

    def execute(self, statement: str, *arguments: object) -> None:
        self.run(self.system.owner.execute(statement, *arguments))
