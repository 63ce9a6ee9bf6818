-- The common end of a run, an answer that is sent to nobody: a part of apply.sql, under the same guards, at half its
-- cost. A row whose end has recipients is left alone, and not returned: apply.sql publishes its events.
WITH held AS (
    SELECT input.*
    FROM :rows AS input
    JOIN jobs AS job USING (id, tenant_id)
    WHERE job.state = 'running'
        -- guard: success-run-no
        AND job.run_no = input.run_no
        -- guard: success-lease-token
        AND job.lease_token = input.lease_token
        -- guard: success-no-webhook
        AND job.webhook_url IS NULL
        -- guard: success-no-endpoint
        AND NOT EXISTS (SELECT FROM webhook_endpoints AS endpoint WHERE endpoint.tenant_id = input.tenant_id)
    ORDER BY job.id
    -- Nobody waits for a neighbour's row: one that is locked is left to apply.sql, which says so.
    -- guard: success-row-lock
    FOR UPDATE OF job SKIP LOCKED
), changed AS (
    UPDATE jobs AS job
    SET state = 'succeeded',
        version = job.version + 1,
        finished_at = now(),
        lease_token = NULL,
        lease_expires_at = NULL,
        worker_id = NULL,
        input_tokens = held.input_tokens,
        output_tokens = held.output_tokens,
        error_class = NULL,
        error_code = NULL,
        error_message = NULL
    FROM held
    WHERE job.id = held.id AND job.tenant_id = held.tenant_id
    RETURNING job.id, job.version
), closed AS (
    UPDATE attempts AS attempt
    SET outcome = 'succeeded',
        finished_at = now(),
        billed = CASE WHEN attempt.called_at IS NULL THEN 'no' ELSE 'yes' END,
        usage = held.usage::jsonb,
        provider_request_id = held.provider_request_id
    FROM held
    WHERE attempt.job_id = held.id AND attempt.tenant_id = held.tenant_id
        -- guard: success-open-attempt
        AND attempt.run_no = held.run_no AND attempt.outcome = 'running'
), stored AS (
    INSERT INTO results (job_id, tenant_id, run_no, output)
    SELECT id, tenant_id, run_no, output FROM held WHERE output IS NOT NULL
)
SELECT id, version FROM changed
