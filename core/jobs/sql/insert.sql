-- Inserts jobs, each under its idempotency key if it has one. A row whose key is taken is not inserted and not returned.
WITH input AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
        $9::float8[], $10::float8[], $11::int[], $12::float8[], $13::float8[], $14::text[], $15::text[], $16::text[],
        $17::bytea[]
    ) AS row (
        id, tenant_id, model, request, meta, priority, request_id, run_at,
        deadline_seconds, timeout_seconds, max_attempts, retry_initial_seconds, retry_max_seconds,
        webhook_url, webhook_events, key, fingerprint
    )
), keyed AS (
    INSERT INTO idempotency AS held (tenant_id, key, fingerprint, job_id, expires_at)
    SELECT tenant_id, key, fingerprint, id, now() + make_interval(secs => $18)
    FROM input WHERE key IS NOT NULL
    -- In one order, so that two batches with the same keys can't deadlock.
    ORDER BY tenant_id, key
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
        id, tenant_id, model, request, meta::jsonb, priority, request_id, greatest(run_at, now()),
        now() + make_interval(secs => deadline_seconds), timeout_seconds, max_attempts,
        retry_initial_seconds, retry_max_seconds,
        webhook_url, string_to_array(webhook_events, ' ')
    FROM input
    -- guard: no-job-without-its-key
    WHERE key IS NULL OR id IN (SELECT job_id FROM keyed)
    RETURNING id, tenant_id, model, version, created_at, run_at, deadline_at, webhook_url, webhook_events
), step AS (
    -- Seldom any: only who asked for it hears of more than a job's end.
    SELECT inserted.*, inferd_uuid7() AS event_id
    FROM inserted
    WHERE 'job.queued' = ANY (inserted.webhook_events)
        OR inserted.tenant_id IN (SELECT tenant_id FROM webhook_endpoints WHERE follows)
), told AS (
    SELECT step.id, step.tenant_id, NULL::uuid AS endpoint_id, step.webhook_url AS url, 'pending' AS delivery_state
    FROM step WHERE 'job.queued' = ANY (step.webhook_events)
    UNION ALL
    SELECT
        step.id, step.tenant_id, endpoint.id, endpoint.url, CASE WHEN endpoint.enabled THEN 'pending' ELSE 'skipped' END
    FROM step JOIN webhook_endpoints AS endpoint ON endpoint.tenant_id = step.tenant_id
    WHERE endpoint.follows AND 'job.queued' = ANY (endpoint.event_types)
), announced AS (
    INSERT INTO deliveries (id, tenant_id, job_id, endpoint_id, event_id, event_type, url, state, body)
    SELECT
        inferd_uuid7(), step.tenant_id, step.id, told.endpoint_id, step.event_id, 'job.queued', told.url,
        told.delivery_state,
        inferd_job_event(step.event_id, 'job.queued', step.id, 'queued', step.model, step.version, '{}')
    FROM told JOIN step USING (id, tenant_id)
    RETURNING id, job_id, state
)
SELECT
    id, created_at, run_at, deadline_at,
    array(
        SELECT announced.id FROM announced WHERE announced.job_id = inserted.id AND announced.state = 'pending'
    ) AS delivery_ids
FROM inserted
