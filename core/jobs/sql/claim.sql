-- The claim edge for many jobs, with the attempt row that stands before every call.
-- SKIP LOCKED: a row that somebody else is changing right now is not ours to wait for; the sweep enqueues it again.
-- Only a worker with a valid lease claims: the jobs of one that was never registered would never be rescued.
WITH wanted AS (
    -- One lookup by the primary key for each. Without statistics the planner would rather read the whole index of what
    -- is queued for each id (a skip scan), so the state is written as no index has it.
    SELECT job.*
    FROM unnest(:job_ids::uuid[]) AS named (id) CROSS JOIN LATERAL (
        SELECT id, tenant_id, run_at, deadline_at FROM jobs
        WHERE jobs.id = named.id
            -- guard: claim-queued-only
            AND state || '' = 'queued'
            -- guard: claim-live-lease
            AND EXISTS (SELECT FROM workers WHERE id = :worker_id AND dead_at IS NULL AND lease_expires_at > now())
        -- guard: claim-row-lock
        FOR UPDATE SKIP LOCKED
    ) AS job
), claimed AS (
    UPDATE jobs AS job
    SET state = 'running',
        version = job.version + 1,
        run_no = job.run_no + 1,
        attempts_used = job.attempts_used + 1,
        lease_token = gen_random_uuid(),
        worker_id = :worker_id,
        started_at = coalesce(job.started_at, now()),
        queue_ms = coalesce(
            job.queue_ms, least(extract(epoch FROM now() - greatest(job.run_at, job.created_at)) * 1000, 2147483647)::int
        )
    FROM wanted
    WHERE job.id = wanted.id AND job.tenant_id = wanted.tenant_id
        -- guard: claim-run-at
        AND wanted.run_at <= now()
        -- guard: claim-deadline
        AND (wanted.deadline_at IS NULL OR wanted.deadline_at > now())
    RETURNING job.*
), recorded AS (
    INSERT INTO attempts (job_id, tenant_id, run_no, attempt, worker_id, provider)
    SELECT id, tenant_id, run_no, attempts_used, :worker_id, split_part(model, '/', 1) FROM claimed
), progress AS (
    SELECT
        id, tenant_id, 'job.running' AS event_type, state AS status, model, version, '{}'::jsonb AS more, webhook_url,
        webhook_events
    FROM claimed
),
-- include: core/webhooks/sql/progress_events.sql
event AS (
    SELECT * FROM progress_event
),
-- include: core/webhooks/sql/publish.sql
SELECT
    wanted.id, extract(epoch FROM wanted.run_at - now())::float8 AS seconds_until_due,
    claimed.tenant_id, claimed.model, claimed.request, claimed.priority, claimed.version, claimed.run_no,
    claimed.attempts_used, claimed.max_attempts, claimed.lease_token,
    claimed.worker_losses > 0 OR claimed.run_no > 1 AND EXISTS (
        SELECT FROM attempts AS earlier
        WHERE earlier.job_id = claimed.id AND earlier.tenant_id = claimed.tenant_id
            AND earlier.run_no = claimed.run_no - 1 AND earlier.outcome = 'unknown'
    ) AS follows_lost_run,
    claimed.webhook_url IS NOT NULL OR EXISTS (
        SELECT FROM webhook_endpoints AS endpoint WHERE endpoint.tenant_id = claimed.tenant_id
    ) AS has_listeners,
    claimed.retry_initial_seconds, claimed.retry_max_seconds, claimed.snoozes,
    coalesce(extract(epoch FROM now() - claimed.snoozed_since), 0)::float8 AS snoozed_seconds,
    claimed.timeout_seconds, extract(epoch FROM claimed.deadline_at - now())::float8 AS seconds_left,
    extract(epoch FROM now() - greatest(claimed.run_at, claimed.created_at))::float8 AS queue_seconds,
    array(
        SELECT published.id FROM published WHERE published.job_id = wanted.id AND published.state = 'pending'
    ) AS delivery_ids
FROM wanted LEFT JOIN claimed USING (id)
