"""The guards that keep the promises, by name: the scenario that goes wrong without each, and how it is taken out.

In the product a comment above the guarded line names the guard: `-- guard: NAME` in SQL and Lua, `# guard: NAME` in
Python. Each name stands there once and here once (test_guards.py).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.proofs import guard_scenarios as jobs
from tests.proofs import lease_scenarios as leases
from tests.proofs.guard_stage import GuardStage
from tests.proofs.mutation import Change, cut, instead, removed, swapped

Scenario = Callable[[GuardStage], Awaitable[None]]


@dataclass(frozen=True)
class Guard:
    """`scenario` holds while the line marked `guard: {name}` is as it is; `change` makes of it what has no guard."""

    name: str
    scenario: Scenario
    change: Change = removed


GUARDS = (
    # core/jobs/sql/apply.sql: every end of a run
    Guard("end-from-states", jobs.a_job_that_ended_stays_so, instead("WHERE true")),
    Guard("end-run-no", jobs.a_run_that_was_superseded_changes_nothing),
    Guard("end-lease-token", jobs.a_token_of_somebody_else_changes_nothing),
    Guard("end-row-lock", jobs.only_one_of_two_ends_at_the_same_time_counts),
    Guard("end-open-attempt", jobs.the_outcome_of_an_earlier_run_is_not_rewritten),
    # core/jobs/sql/succeed.sql: a success without webhooks
    Guard("success-run-no", jobs.a_superseded_run_stores_no_answer),
    Guard("success-lease-token", jobs.a_token_of_somebody_else_stores_no_answer),
    Guard("success-row-lock", jobs.a_success_waits_for_no_lock),
    Guard("success-no-webhook", jobs.a_job_with_a_webhook_is_left_to_the_statement_that_publishes),
    Guard("success-no-endpoint", jobs.a_job_of_a_tenant_with_an_endpoint_is_left_to_it_as_well),
    Guard("success-open-attempt", jobs.a_success_leaves_earlier_attempts_as_they_were),
    # Cancel and delete
    Guard("cancel-row-lock", jobs.a_cancel_holds_the_row_until_it_has_answered),
    Guard(
        "cancel-tenant", jobs.a_worker_changes_the_named_tenants_jobs_only, instead("AND :tenant_id::uuid IS NOT NULL")
    ),
    Guard("delete-ended-only", jobs.a_job_that_waits_is_not_deleted),
    # Claims, and the call that follows one
    Guard("claim-queued-only", jobs.a_running_job_is_not_claimed),
    Guard("claim-row-lock", jobs.two_claims_at_the_same_time_give_one_run),
    Guard("claim-live-lease", leases.a_worker_without_a_lease_claims_nothing),
    Guard("claim-run-at", jobs.a_job_waits_for_its_time),
    Guard("claim-deadline", jobs.a_job_past_its_deadline_does_not_start),
    Guard("call-open-attempt", jobs.a_run_that_is_over_calls_nobody, instead("WHERE true")),
    Guard("call-own-run", jobs.a_worker_that_learns_of_it_makes_no_call, instead("if False:")),
    Guard("spool-before-call", jobs.a_spooled_answer_is_used, swapped("job.follows_lost_run and", "False and")),
    # Leases
    Guard("renew-not-dead", leases.a_dead_worker_stays_dead),
    Guard("judge-expired-lease", leases.a_worker_within_its_lease_is_not_declared_dead, instead("true")),
    Guard("judge-is-steady", leases.nobody_is_declared_dead_by_who_was_away_as_well),
    Guard(
        "judge-renewed-just-now",
        leases.nobody_is_declared_dead_by_who_has_not_renewed_since,
        instead("AND :gap_seconds::float8 IS NOT NULL"),
    ),
    Guard("lost-run-ends", jobs.a_lost_lease_closes_the_call, instead("pass")),
    Guard("call-within-lease", jobs.no_call_begins_when_the_lease_may_be_over, cut(" and self.worker.may_claim")),
    # The sweep
    Guard("rescue-dead-only", jobs.a_job_under_a_live_lease_is_not_rescued),
    Guard("rescue-call-went-out", jobs.a_job_that_was_not_called_keeps_its_attempt),
    Guard("two-lost-workers", jobs.a_job_that_loses_two_workers_fails, instead("if not attempts_left:")),
    Guard("sweep-rescues", jobs.the_sweep_rescues_a_dead_workers_job),
    Guard("sweep-expires", jobs.the_sweep_ends_what_is_past_its_deadline),
    Guard("expire-passed-only", jobs.a_deadline_ahead_ends_nothing),
    Guard("reconcile-enqueues", jobs.what_redis_lost_is_enqueued_again, instead("left_out = 0")),
    # Submits
    Guard("key-taken-once", jobs.a_key_that_is_held_makes_no_second_job),
    Guard("no-job-without-its-key", jobs.a_key_that_is_held_makes_no_second_job),
    Guard("key-same-body", jobs.a_key_with_another_body_is_refused, cut(" if first == job.fingerprint")),
    # Webhooks and retention
    Guard("delivery-lease", jobs.a_delivery_has_one_sender),
    Guard("delivery-lease-token", jobs.a_sender_that_lost_its_lease_records_nothing),
    Guard("prune-waits-for-webhooks", jobs.a_job_is_kept_until_its_webhook_was_sent, swapped("NOT", "true OR")),
    # Redis
    Guard("enqueue-once", jobs.a_job_enqueued_twice_waits_once, swapped("= member", "= member .. time[2]")),
    Guard("enqueue-ends-hold", jobs.enqueuing_takes_a_job_from_a_dead_worker, instead("if false then")),
    Guard("payload-expires", jobs.a_payload_does_not_stay_for_ever, cut(", 'PX', row.delay_ms + PAYLOAD_LIFE_MS")),
    Guard("hold-taken-once", jobs.a_member_that_is_held_is_not_claimed, cut("'NX', ")),
    Guard("hold-expires", jobs.a_hold_does_not_stay_for_ever, cut(", 'PX', lease_ms")),
    Guard("claimed-score-moves", jobs.a_claimed_member_is_not_due),
    Guard("foreign-hold-expires", jobs.a_hold_that_has_no_end_gets_one),
    Guard("finish-own-hold", jobs.a_hold_that_was_lost_finishes_nothing, instead("if true then")),
    Guard("renew-own-hold", jobs.a_hold_that_was_lost_is_not_renewed, cut(" == hold.token")),
)


@dataclass(frozen=True)
class Policy:
    """A guard that PostgreSQL holds: row-level security on a table."""

    table: str
    scenario: Scenario


POLICIES = (Policy("jobs", jobs.a_query_without_where_sees_no_other_tenants_jobs),)
