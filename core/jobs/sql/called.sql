-- The call is about to go out: from here on, a lost worker may have cost money.
UPDATE attempts AS attempt
SET called_at = now(), billed = 'maybe'
FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS run (job_id, tenant_id, run_no)
WHERE attempt.job_id = run.job_id AND attempt.tenant_id = run.tenant_id AND attempt.run_no = run.run_no
    AND attempt.outcome = 'running'
RETURNING attempt.job_id, attempt.run_no
