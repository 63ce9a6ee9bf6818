-- Deletes the oldest jobs of one state that ended long enough ago, and remembers their ids. A job whose webhook is
-- still being delivered stays until that has ended.
WITH old AS (
    SELECT id, tenant_id FROM jobs
    WHERE state = :state AND finished_at < now() - make_interval(secs => :seconds)
        -- guard: prune-waits-for-webhooks
        AND NOT EXISTS (
            SELECT FROM deliveries AS delivery
            WHERE delivery.tenant_id = jobs.tenant_id AND delivery.job_id = jobs.id AND delivery.state = 'pending'
        )
    ORDER BY finished_at
    LIMIT :most
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM jobs USING old WHERE jobs.id = old.id AND jobs.tenant_id = old.tenant_id
    RETURNING jobs.id, jobs.tenant_id
), sent AS (
    -- One that is sent again by hand at this moment goes with the memory of its job (prune_deleted.sql).
    DELETE FROM deliveries USING gone
    WHERE deliveries.tenant_id = gone.tenant_id AND deliveries.job_id = gone.id AND deliveries.state <> 'pending'
)
INSERT INTO deleted_jobs (id, tenant_id) SELECT id, tenant_id FROM gone
ON CONFLICT DO NOTHING
RETURNING id
