-- Deletes jobs that have ended, and remembers that they existed.
WITH gone AS (
    DELETE FROM jobs
    USING unnest($1::uuid[], $2::uuid[]) AS wanted (id, tenant_id)
    WHERE jobs.id = wanted.id AND jobs.tenant_id = wanted.tenant_id AND jobs.finished_at IS NOT NULL
    RETURNING jobs.id, jobs.tenant_id
)
INSERT INTO deleted_jobs (id, tenant_id)
SELECT id, tenant_id FROM gone
ON CONFLICT DO NOTHING
RETURNING id
