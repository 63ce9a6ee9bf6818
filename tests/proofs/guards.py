"""The guards that keep the promises: what each is, where it stands, and the story that goes wrong without it.

`old` is the piece of the file that is the guard, and `new` what stands there when it is gone. The file must have the
piece exactly once, so whoever moves a guard finds this list; whoever adds one adds a line here.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.proofs import guard_scenarios as story
from tests.proofs import worker_scenarios as workers
from tests.proofs.stage import Stage

Scenario = Callable[[Stage], Awaitable[None]]

_APPLY = "core/jobs/sql/apply.sql"
_CLAIM = "core/jobs/sql/claim.sql"
_HELD = "core/jobs/sql/held_jobs.sql"
_INSERT = "core/jobs/sql/insert.sql"
_LEASES = "core/jobs/sql/lost_runs.sql"
_DEATHS = "core/jobs/sql/declare_dead.sql"
_LUA = "core/queue/lua"
_SUCCEED = "core/jobs/sql/succeed.sql"
_SWEEP = "worker/tasks/sweep.py"


@dataclass(frozen=True)
class Guard:
    """`old` in `file` keeps `scenario` true."""

    name: str
    file: str
    old: str
    new: str
    scenario: Scenario


GUARDS = (
    Guard(
        "the run's number in every end of a run",
        _APPLY,
        "AND (input.run_no IS NULL OR job.run_no = input.run_no)",
        "",
        story.a_run_that_was_superseded_changes_nothing,
    ),
    Guard(
        "the lease's token in every end of a run",
        _APPLY,
        "AND (input.lease_token IS NULL OR job.lease_token = input.lease_token)",
        "",
        story.a_token_of_somebody_else_changes_nothing,
    ),
    Guard(
        "the from-states of every edge",
        _APPLY,
        "WHERE job.state = ANY (string_to_array(input.from_states, ' '))",
        "WHERE true",
        story.a_job_that_ended_stays_so,
    ),
    Guard(
        "the lock under which the guards are read",
        _APPLY,
        "    FOR UPDATE OF job SKIP LOCKED\n",
        "",
        story.only_one_of_two_ends_at_the_same_time_counts,
    ),
    Guard(
        "an attempt that ended is closed",
        _APPLY,
        "        AND attempt.outcome = 'running'\n",
        "",
        story.what_an_earlier_run_came_to_is_not_rewritten,
    ),
    Guard(
        "the run's number in an answer that nobody hears of",
        _SUCCEED,
        "        AND job.run_no = input.run_no\n",
        "",
        story.a_superseded_run_gives_no_answer,
    ),
    Guard(
        "the lease's token in an answer that nobody hears of",
        _SUCCEED,
        "        AND job.lease_token = input.lease_token\n",
        "",
        story.a_token_of_somebody_else_gives_no_answer,
    ),
    Guard(
        "the lock under which an answer is written",
        _SUCCEED,
        "    FOR UPDATE OF job SKIP LOCKED\n",
        "",
        story.an_answer_waits_for_nobody,
    ),
    Guard(
        "an answer with its own webhook is published",
        _SUCCEED,
        "        AND job.webhook_url IS NULL\n",
        "",
        story.the_answer_of_a_job_with_a_webhook_is_published,
    ),
    Guard(
        "an answer that an endpoint waits for is published",
        _SUCCEED,
        "        AND NOT EXISTS (SELECT FROM webhook_endpoints AS endpoint WHERE endpoint.tenant_id = input.tenant_id)\n",
        "",
        story.an_endpoint_that_was_made_meanwhile_hears_of_the_answer,
    ),
    Guard(
        "an answer closes its own attempt only",
        _SUCCEED,
        " AND attempt.run_no = held.run_no AND attempt.outcome = 'running'",
        "",
        story.an_answer_leaves_earlier_attempts_as_they_were,
    ),
    Guard("the cancel's row lock", _HELD, "FOR UPDATE", "", story.a_cancel_holds_the_row_until_it_has_answered),
    Guard(
        "whose job is cancelled",
        _HELD,
        "AND tenant_id = :tenant_id",
        "AND :tenant_id::uuid IS NOT NULL",
        story.a_worker_changes_the_named_tenants_jobs_only,
    ),
    Guard(
        "only what has ended is deleted",
        "core/jobs/sql/delete.sql",
        " AND jobs.finished_at IS NOT NULL",
        "",
        story.a_job_that_waits_is_not_deleted,
    ),
    Guard(
        "only a queued job is claimed", _CLAIM, " AND state || '' = 'queued'", "", story.a_running_job_is_not_claimed
    ),
    Guard(
        "the claim's row lock",
        _CLAIM,
        "        FOR UPDATE SKIP LOCKED\n",
        "",
        story.two_claims_at_the_same_time_give_one_run,
    ),
    Guard("run_at in the claim", _CLAIM, "AND wanted.run_at <= now()", "", story.a_job_waits_for_its_time),
    Guard(
        "the deadline in the claim",
        _CLAIM,
        "AND (wanted.deadline_at IS NULL OR wanted.deadline_at > now())",
        "",
        story.a_job_past_its_deadline_does_not_start,
    ),
    Guard(
        "the run is asked for before its call",
        "core/jobs/sql/called.sql",
        "    WHERE attempt.outcome = 'running'\n",
        "    WHERE true\n",
        story.a_run_that_is_over_calls_nobody,
    ),
    Guard(
        "no call for a run that is over",
        "core/jobs/execute.py",
        "        if not ours:\n",
        "        if False:\n",
        story.a_worker_that_learns_so_before_its_call_makes_none,
    ),
    Guard(
        "the spool is looked at before a second call",
        "core/jobs/execute.py",
        "if job.follows_lost_run and (",
        "if False and (",
        story.an_answer_in_safety_is_used,
    ),
    Guard(
        "a worker that was declared dead",
        "core/jobs/sql/renew_worker.sql",
        " AND dead_at IS NULL\nRETURNING",
        "\nRETURNING",
        workers.a_dead_worker_stays_dead,
    ),
    Guard(
        "a living lease in the claim",
        _CLAIM,
        " AND lease_expires_at > now())",
        ")",
        workers.a_dead_worker_claims_nothing,
    ),
    Guard(
        "who judges has been answered for a full lease",
        _DEATHS,
        "                AND judge.steady_since <= now() - make_interval(secs => :lease_seconds)\n",
        "                AND :lease_seconds::float8 IS NOT NULL\n",
        workers.nobody_is_judged_by_who_was_away_as_well,
    ),
    Guard(
        "who judges has been answered just now",
        _DEATHS,
        "                AND judge.renewed_at BETWEEN now() - make_interval(secs => :gap_seconds) AND now()\n",
        "                AND :gap_seconds::float8 IS NOT NULL\n",
        workers.nobody_is_judged_by_who_has_not_renewed_since,
    ),
    Guard(
        "only a lease that is over is judged",
        _DEATHS,
        "            lease_expires_at < now()\n",
        "            true\n",
        workers.a_worker_within_its_lease_is_not_judged,
    ),
    Guard(
        "a run that PostgreSQL does not know ends",
        "core/jobs/heartbeat.py",
        "is lease:\n                    lease.end(LeaseEnd.LOST)\n",
        "is lease:\n                    pass\n",
        story.a_lost_lease_closes_the_call,
    ),
    Guard(
        "the worker's own deadline",
        "core/jobs/heartbeat.py",
        "return self.ended is None and self.worker.may_claim",
        "return self.ended is None",
        story.no_call_begins_when_the_lease_may_be_over,
    ),
    Guard(
        "only a dead worker's job is taken back",
        _LEASES,
        "    WHERE worker.dead_at IS NOT NULL\n",
        "",
        story.a_live_lease_is_left_alone,
    ),
    Guard(
        "a job may lose two workers",
        "core/domain/transitions.py",
        "(counts and worker_losses + 1 >= MAX_WORKER_LOSSES) or ",
        "",
        story.a_job_that_kills_two_workers_fails,
    ),
    Guard(
        "a bystander is told from a killer",
        _LEASES,
        "            AND attempt.called_at IS NOT NULL\n",
        "",
        story.a_bystander_keeps_its_attempt,
    ),
    Guard(
        "the sweep's rescue",
        _SWEEP,
        'await _step("rescue", lambda: _all(lambda: rescue_jobs(runtime.jobs)))',
        "pass",
        story.the_sweep_takes_back_a_dead_workers_job,
    ),
    Guard(
        "the sweep's deadlines",
        _SWEEP,
        'await _step("expire", lambda: _all(lambda: expire_jobs(runtime.jobs)))',
        "pass",
        story.the_sweep_ends_what_is_past_its_deadline,
    ),
    Guard(
        "only a deadline that passed ends a job",
        "core/jobs/sql/passed_deadlines.sql",
        " AND deadline_at <= now()",
        "",
        story.a_deadline_ahead_is_left_alone,
    ),
    Guard(
        "the sweep's enqueue",
        "core/jobs/reconcile.py",
        "        left_out = await self.context.enqueuer.enqueue_now(missing)\n",
        "        left_out = 0\n",
        story.what_redis_lost_is_enqueued_again,
    ),
    Guard(
        "an idempotency key is taken once",
        _INSERT,
        "        WHERE held.expires_at <= now()\n",
        "",
        story.a_key_that_is_held_makes_no_second_job,
    ),
    Guard(
        "no job without its key",
        _INSERT,
        "WHERE idempotency_key IS NULL OR id IN (SELECT job_id FROM keyed)",
        "",
        story.a_key_that_is_held_makes_no_second_job,
    ),
    Guard(
        "a key belongs to one body",
        "core/jobs/submit.py",
        " if first == job.fingerprint:",
        ":",
        story.a_key_with_another_body_is_refused,
    ),
    Guard(
        "a delivery's lease",
        "core/webhooks/sql/claim.sql",
        " AND (lease_token IS NULL OR lease_expires_at < now())",
        "",
        story.a_delivery_has_one_sender,
    ),
    Guard(
        "the token in a delivery's end",
        "core/webhooks/sql/record.sql",
        "        AND delivery.lease_token = ended.lease_token\n",
        "",
        story.a_sender_that_lost_its_lease_records_nothing,
    ),
    Guard(
        "retention waits for webhooks",
        "core/jobs/sql/prune_jobs.sql",
        "AND NOT EXISTS (",
        "AND true OR EXISTS (",
        story.a_job_is_kept_until_its_webhook_was_sent,
    ),
    Guard(
        "who holds, in the claim's script",
        f"{_LUA}/claim.lua",
        "token, 'NX', 'PX', lease_ms) then",
        "token, 'PX', lease_ms) then",
        story.a_member_that_is_held_is_not_claimed,
    ),
    Guard(
        "a claimed member's score",
        f"{_LUA}/claim.lua",
        "        if #moved > 0 then redis.call('ZADD', lane, 'XX', unpack(moved)) end\n",
        "",
        story.a_claimed_member_is_out_of_sight,
    ),
    Guard(
        "the token in the finish's script",
        f"{_LUA}/finish.lua",
        "if holder == row.token then",
        "if true then",
        story.a_hold_that_was_lost_finishes_nothing,
    ),
    Guard(
        "the token in the heartbeat's script",
        f"{_LUA}/renew_holds.lua",
        " .. member) == hold.token then",
        " .. member) then",
        story.a_hold_that_was_lost_is_not_renewed,
    ),
    Guard(
        "the enqueue's idempotence",
        f"{_LUA}/enqueue.lua",
        "scored[#scored + 1] = member\n",
        "scored[#scored + 1] = member .. time[2]\n",
        story.enqueueing_twice_queues_once,
    ),
    Guard(
        "the enqueue takes the hold away",
        f"{_LUA}/enqueue.lua",
        "if holders[member] then\n",
        "if false then\n",
        story.an_enqueue_takes_the_member_from_a_dead_worker,
    ),
    Guard(
        "a payload's life",
        f"{_LUA}/enqueue.lua",
        ", 'PX', row.delay_ms + PAYLOAD_LIFE_MS)",
        ")",
        story.a_payload_does_not_stay_for_ever,
    ),
    Guard(
        "an end for whoever's hold",
        f"{_LUA}/claim.lua",
        "if left == -1 then",
        "if false then",
        story.a_hold_that_has_no_end_gets_one,
    ),
    Guard(
        "a hold's life",
        f"{_LUA}/claim.lua",
        "token, 'NX', 'PX', lease_ms)",
        "token, 'NX')",
        story.a_hold_does_not_stay_for_ever,
    ),
)


@dataclass(frozen=True)
class Policy:
    """A guard that PostgreSQL holds: row-level security on a table."""

    table: str
    scenario: Scenario


POLICIES = (Policy("jobs", story.a_query_without_where_sees_no_other_tenants_jobs),)
