-- Renews leases; a job that is not returned is no longer the asker's. In id order, so that two batches can't deadlock.
WITH held AS (
    SELECT job.id, job.tenant_id
    FROM unnest($1::uuid[], $2::uuid[]) AS lease (id, token)
    JOIN jobs AS job USING (id)
    WHERE job.state = 'running' AND job.lease_token = lease.token
    ORDER BY job.id
    FOR UPDATE OF job
)
UPDATE jobs AS job
SET lease_expires_at = now() + make_interval(secs => $3)
FROM held
WHERE job.id = held.id AND job.tenant_id = held.tenant_id
RETURNING job.id
