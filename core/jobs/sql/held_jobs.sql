-- Locks jobs of one caller, in id order, and returns what an edge needs of each.
SELECT id, tenant_id, state, version, model, run_no, priority
FROM jobs
WHERE id = ANY (:job_ids::uuid[])
    -- guard: cancel-tenant
    AND tenant_id = :tenant_id
ORDER BY id
-- guard: cancel-row-lock
FOR UPDATE
