-- Deletes jobs that have ended, and remembers that they existed. Their webhooks that are still to be sent are kept until
-- the memory goes (prune_deleted.sql); those that have ended go at once.
WITH gone AS (
    DELETE FROM jobs
    USING :rows AS wanted
    WHERE jobs.id = wanted.id AND jobs.tenant_id = wanted.tenant_id
        -- guard: delete-ended-only
        AND jobs.finished_at IS NOT NULL
    RETURNING jobs.id, jobs.tenant_id
), sent AS (
    DELETE FROM deliveries USING gone
    WHERE deliveries.tenant_id = gone.tenant_id AND deliveries.job_id = gone.id AND deliveries.state <> 'pending'
)
INSERT INTO deleted_jobs (id, tenant_id)
SELECT id, tenant_id FROM gone
ON CONFLICT DO NOTHING
RETURNING id
