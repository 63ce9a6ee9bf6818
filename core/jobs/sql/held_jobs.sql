-- Locks jobs of one caller, in id order, and returns what an edge needs of each.
SELECT id, tenant_id, state, version, model, run_no, priority
FROM jobs
WHERE tenant_id = :tenant_id AND id = ANY (:job_ids::uuid[])
ORDER BY id
FOR UPDATE
