-- Locks jobs of one caller, in id order, and says what an edge needs to know of each.
SELECT id, tenant_id, state, version, model, run_no, priority
FROM jobs
WHERE id = ANY ($2::uuid[])
    -- guard: cancel-tenant
    AND tenant_id = $1
ORDER BY id
-- guard: cancel-row-lock
FOR UPDATE
