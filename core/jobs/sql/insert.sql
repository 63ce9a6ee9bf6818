-- Inserts jobs, each under its idempotency key if it has one. A row whose key is taken is not inserted and not returned.
WITH input AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
        $9::float8[], $10::float8[], $11::int[], $12::text[], $13::text[], $14::text[], $15::bytea[]
    ) AS row (
        id, tenant_id, model, request, meta, priority, request_id, run_at,
        deadline_seconds, timeout_seconds, max_attempts, webhook_url, webhook_events, key, fingerprint
    )
), keyed AS (
    INSERT INTO idempotency AS held (tenant_id, key, fingerprint, job_id, expires_at)
    SELECT tenant_id, key, fingerprint, id, now() + make_interval(secs => $16)
    FROM input WHERE key IS NOT NULL
    -- In one order, so that two batches with the same keys can't deadlock.
    ORDER BY tenant_id, key
    ON CONFLICT (tenant_id, key) DO UPDATE
        SET fingerprint = excluded.fingerprint, job_id = excluded.job_id, expires_at = excluded.expires_at
        WHERE held.expires_at <= now()
    RETURNING job_id
)
INSERT INTO jobs (
    id, tenant_id, model, request, meta, priority, request_id, run_at,
    deadline_at, timeout_seconds, max_attempts, webhook_url, webhook_events
)
SELECT
    id, tenant_id, model, request, meta::jsonb, priority, request_id, greatest(run_at, now()),
    now() + make_interval(secs => deadline_seconds), timeout_seconds, max_attempts,
    webhook_url, string_to_array(webhook_events, ' ')
FROM input
WHERE key IS NULL OR id IN (SELECT job_id FROM keyed)
RETURNING id, created_at, run_at, deadline_at
