-- Runs that nothing carries on: of dead workers, of workers of the previous release whose lease for the job is over, and
-- the named runs ($2, $3) of a worker ($4) that does not know of them itself. Whether each call had gone out, how many
-- runs were lost before their calls, and whether the loss counts against the job.
WITH lost AS (
    SELECT job.id, job.tenant_id, job.run_no, NOT worker.lost_alone AS counts
    FROM workers AS worker JOIN jobs AS job ON job.worker_id = worker.id
    WHERE worker.dead_at IS NOT NULL AND job.state = 'running'
    UNION ALL
    SELECT id, tenant_id, run_no, true FROM jobs WHERE state = 'running' AND lease_expires_at < now()
    UNION ALL
    SELECT job.id, job.tenant_id, job.run_no, false
    FROM unnest($2::uuid[], $3::int[]) AS run (id, run_no) JOIN jobs AS job USING (id, run_no)
    WHERE job.state = 'running' AND job.worker_id = $4
)
SELECT
    job.id, job.tenant_id, job.state, job.version, job.model, job.run_no, job.priority,
    job.worker_losses, job.attempts_used < job.max_attempts AS attempts_left, lost.counts,
    EXISTS (
        SELECT FROM attempts AS attempt
        WHERE attempt.job_id = job.id AND attempt.tenant_id = job.tenant_id AND attempt.run_no = job.run_no
            AND attempt.called_at IS NOT NULL
    ) AS call_went_out,
    (
        SELECT count(*) FROM attempts AS attempt
        WHERE attempt.job_id = job.id AND attempt.tenant_id = job.tenant_id
            AND attempt.outcome = 'unknown' AND attempt.called_at IS NULL
    ) AS bystander_losses
-- Of the same run: by the time of the lock the job may be somebody else's.
FROM lost JOIN jobs AS job USING (id, tenant_id, run_no)
WHERE job.state = 'running'
LIMIT $1
FOR UPDATE OF job SKIP LOCKED
