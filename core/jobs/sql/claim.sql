-- The claim edge for many jobs, with the attempt row that stands before every call.
-- SKIP LOCKED: a row that somebody else is changing right now is not ours to wait for; the sweep rings it again.
WITH wanted AS (
    SELECT id, tenant_id, run_at, deadline_at
    FROM jobs
    WHERE id = ANY ($1::uuid[]) AND state = 'queued'
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE jobs AS job
    SET state = 'running',
        version = job.version + 1,
        run_no = job.run_no + 1,
        attempts_used = job.attempts_used + 1,
        lease_token = gen_random_uuid(),
        lease_expires_at = now() + make_interval(secs => $3),
        worker_id = $2,
        started_at = coalesce(job.started_at, now()),
        queue_ms = coalesce(
            job.queue_ms, least(extract(epoch FROM now() - greatest(job.run_at, job.created_at)) * 1000, 2147483647)::int
        )
    FROM wanted
    WHERE job.id = wanted.id AND job.tenant_id = wanted.tenant_id
        AND wanted.run_at <= now() AND (wanted.deadline_at IS NULL OR wanted.deadline_at > now())
    RETURNING job.*
), recorded AS (
    INSERT INTO attempts (job_id, tenant_id, run_no, attempt, worker_id, provider)
    SELECT id, tenant_id, run_no, attempts_used, $2, split_part(model, '/', 1) FROM claimed
)
SELECT
    wanted.id, extract(epoch FROM wanted.run_at - now())::float8 AS seconds_until_due,
    claimed.tenant_id, claimed.model, claimed.request, claimed.priority, claimed.version, claimed.run_no,
    claimed.attempts_used, claimed.max_attempts, claimed.worker_losses, claimed.lease_token,
    claimed.timeout_seconds, extract(epoch FROM claimed.deadline_at - now())::float8 AS seconds_left,
    extract(epoch FROM now() - greatest(claimed.run_at, claimed.created_at))::float8 AS queue_seconds
FROM wanted LEFT JOIN claimed USING (id)
