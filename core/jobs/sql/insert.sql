-- Inserts jobs, each under its idempotency key if it has one. A row whose key is taken is not inserted and not returned.
WITH input AS (
    SELECT * FROM :rows AS job
), keyed AS (
    INSERT INTO idempotency AS held (tenant_id, key, fingerprint, job_id, expires_at)
    SELECT tenant_id, idempotency_key, fingerprint, id, now() + make_interval(secs => :key_seconds)
    FROM input WHERE idempotency_key IS NOT NULL
    -- In one order, so that two groups with the same keys can't deadlock.
    ORDER BY tenant_id, idempotency_key
    ON CONFLICT (tenant_id, key) DO UPDATE
        SET fingerprint = excluded.fingerprint, job_id = excluded.job_id, expires_at = excluded.expires_at
        -- guard: key-taken-once
        WHERE held.expires_at <= now()
    RETURNING job_id
), inserted AS (
    INSERT INTO jobs (
        id, tenant_id, model, request, meta, priority, request_id, run_at,
        deadline_at, timeout_seconds, max_attempts, retry_initial_seconds, retry_max_seconds,
        webhook_url, webhook_events
    )
    SELECT
        id, tenant_id, model, request, metadata::jsonb, priority, request_id, greatest(run_at, now()),
        now() + make_interval(secs => deadline_seconds), timeout_seconds, max_attempts,
        retry_initial_seconds, retry_max_seconds,
        webhook_url, string_to_array(webhook_events, ' ')
    FROM input
    -- guard: no-job-without-its-key
    WHERE idempotency_key IS NULL OR id IN (SELECT job_id FROM keyed)
    RETURNING
        id, tenant_id, state, model, version, created_at, run_at, deadline_at, attempts_used, webhook_url,
        webhook_events
), progress AS (
    SELECT
        id, tenant_id, 'job.queued' AS event_type, state AS status, model, version, '{}'::jsonb AS more, webhook_url,
        webhook_events
    FROM inserted
),
-- include: core/webhooks/sql/progress_events.sql
event AS (
    SELECT * FROM progress_event
),
-- include: core/webhooks/sql/publish.sql
SELECT
    id, state, version, created_at, run_at, deadline_at, attempts_used,
    array(
        SELECT published.id FROM published WHERE published.job_id = inserted.id AND published.state = 'pending'
    ) AS delivery_ids
FROM inserted
