-- Deletes the oldest deliveries that belong to no job, with their log, and recoveries that ended long ago. What belongs
-- to a job goes with it.
WITH old AS (
    SELECT id, tenant_id FROM deliveries
    WHERE job_id IS NULL AND created_at < now() - make_interval(secs => :seconds) AND state <> 'pending'
    ORDER BY created_at
    LIMIT :most
    FOR UPDATE SKIP LOCKED
), ended AS (
    SELECT id, tenant_id FROM webhook_recoveries
    WHERE finished_at < now() - make_interval(secs => :seconds)
    LIMIT :most
    FOR UPDATE SKIP LOCKED
), recoveries AS (
    DELETE FROM webhook_recoveries AS row USING ended WHERE row.id = ended.id AND row.tenant_id = ended.tenant_id
)
DELETE FROM deliveries USING old WHERE deliveries.id = old.id AND deliveries.tenant_id = old.tenant_id
RETURNING deliveries.id
