-- Runs that no process works on: of dead workers, of workers of the previous release whose lease for the job is over, and
-- the runs (:rows) of the worker :worker_id that it does not know of itself. Whether each call had gone out, how many runs
-- were lost before their calls, and whether the loss counts against the job.
-- Never by reading all that runs: statistics seldom know how much that is. So each step is a lookup for the one before,
-- and where a job's id is known the state is written as no index has it.
WITH lost AS (
    SELECT run.id, run.tenant_id, run.run_no, NOT worker.lost_alone AS counts
    FROM workers AS worker CROSS JOIN LATERAL (
        SELECT id, tenant_id, run_no FROM jobs WHERE worker_id = worker.id AND state = 'running' OFFSET 0
    ) AS run
    -- guard: rescue-dead-only
    WHERE worker.dead_at IS NOT NULL
    UNION ALL
    SELECT id, tenant_id, run_no, true
    FROM (
        SELECT id, tenant_id, run_no FROM jobs
        WHERE state = 'running' AND lease_expires_at < now()
        ORDER BY lease_expires_at
        OFFSET 0
    ) AS overdue
    UNION ALL
    SELECT job.id, job.tenant_id, run.run_no, false
    FROM :rows AS run CROSS JOIN LATERAL (
        SELECT id, tenant_id FROM jobs
        WHERE jobs.id = run.id AND jobs.run_no = run.run_no AND worker_id || '' = :worker_id AND state || '' = 'running'
        OFFSET 0
    ) AS job
)
SELECT
    job.id, job.tenant_id, job.state, job.version, job.model, job.run_no, job.priority,
    job.worker_losses, job.attempts_used < job.max_attempts AS attempts_left, lost.counts,
    EXISTS (
        SELECT FROM attempts AS attempt
        WHERE attempt.job_id = job.id AND attempt.tenant_id = job.tenant_id AND attempt.run_no = job.run_no
            -- guard: rescue-call-went-out
            AND attempt.called_at IS NOT NULL
    ) AS call_went_out,
    (
        SELECT count(*) FROM attempts AS attempt
        WHERE attempt.job_id = job.id AND attempt.tenant_id = job.tenant_id
            AND attempt.outcome = 'unknown' AND attempt.called_at IS NULL
    ) AS bystander_losses
FROM lost CROSS JOIN LATERAL (
    -- Of the same run: by the time of the lock the job may be somebody else's.
    SELECT * FROM jobs
    WHERE jobs.id = lost.id AND jobs.tenant_id = lost.tenant_id AND jobs.run_no = lost.run_no
        AND state || '' = 'running'
    FOR UPDATE SKIP LOCKED
) AS job
LIMIT :most
