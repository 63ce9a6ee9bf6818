-- Forgets deleted jobs: reading them returns 404 from now on. Their deliveries, which outlived them, go with them; a job
-- with a delivery that is still to be sent is remembered until that has ended.
WITH old AS (
    SELECT id, tenant_id FROM deleted_jobs
    WHERE deleted_at < now() - make_interval(secs => :seconds)
        AND NOT EXISTS (
            SELECT FROM deliveries AS delivery
            WHERE delivery.tenant_id = deleted_jobs.tenant_id AND delivery.job_id = deleted_jobs.id
                AND delivery.state = 'pending'
        )
    ORDER BY deleted_at
    LIMIT :most
    FOR UPDATE SKIP LOCKED
), sent AS (
    DELETE FROM deliveries USING old
    WHERE deliveries.tenant_id = old.tenant_id AND deliveries.job_id = old.id AND deliveries.state <> 'pending'
)
DELETE FROM deleted_jobs AS gone USING old WHERE gone.id = old.id AND gone.tenant_id = old.tenant_id
RETURNING gone.id
