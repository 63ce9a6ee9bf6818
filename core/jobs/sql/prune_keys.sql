-- Deletes idempotency keys that hold nothing any more.
WITH old AS (
    SELECT tenant_id, key FROM idempotency WHERE expires_at <= now() ORDER BY expires_at LIMIT :most
    FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency AS held USING old WHERE held.tenant_id = old.tenant_id AND held.key = old.key
RETURNING held.job_id
