-- Locks jobs of one caller, in id order, and says what an edge needs to know of each.
SELECT id, tenant_id, state, version, model, run_no, priority
FROM jobs
WHERE tenant_id = $1 AND id = ANY ($2::uuid[])
ORDER BY id
FOR UPDATE
