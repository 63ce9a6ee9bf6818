-- The call is about to go out: from here on, a lost worker may have cost money.
-- SKIP LOCKED: who holds the attempt's row is ending this very run. It is not waited for, so the two can't deadlock.
-- Waiting for the disk here would double the price of a claim. Losing this row needs PostgreSQL and the worker to die in
-- the same instant, and costs one refunded attempt.
WITH unhurried AS (
    SELECT set_config('synchronous_commit', 'off', true)
), run AS (
    SELECT attempt.job_id, attempt.tenant_id, attempt.run_no
    FROM :rows AS run
    JOIN attempts AS attempt USING (job_id, tenant_id, run_no)
    -- guard: call-open-attempt
    WHERE attempt.outcome = 'running'
    FOR UPDATE OF attempt SKIP LOCKED
)
UPDATE attempts AS attempt
SET called_at = now(), billed = 'maybe'
FROM run CROSS JOIN unhurried
WHERE attempt.job_id = run.job_id AND attempt.tenant_id = run.tenant_id AND attempt.run_no = run.run_no
RETURNING attempt.job_id, attempt.run_no
