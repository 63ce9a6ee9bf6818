-- Forgets that jobs existed: reading them answers 404 from now on.
WITH old AS (
    SELECT id, tenant_id FROM deleted_jobs WHERE deleted_at < now() - make_interval(secs => $1) ORDER BY deleted_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM deleted_jobs AS gone USING old WHERE gone.id = old.id AND gone.tenant_id = old.tenant_id
RETURNING gone.id
