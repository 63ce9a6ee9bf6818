-- Jobs whose worker is gone, whether its call had gone out, and how many runs were lost before their calls.
SELECT
    job.id, job.tenant_id, job.state, job.version, job.model, job.run_no, job.priority,
    job.worker_losses, job.attempts_used < job.max_attempts AS attempts_left,
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
FROM jobs AS job
WHERE job.state = 'running' AND job.lease_expires_at < now()
ORDER BY job.lease_expires_at
LIMIT $1
FOR UPDATE OF job SKIP LOCKED
