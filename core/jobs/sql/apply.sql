-- Every edge but the claim: one guarded UPDATE, and with it the attempt, the result and the webhook rows.
-- A row is changed only if it is still in a from-state and, where the change names them, under its run_no and token.
WITH input AS (
    SELECT * FROM :rows AS change
), held AS (
    SELECT input.*, job.state AS old_state, job.run_no AS old_run_no, job.webhook_url, job.webhook_events
    FROM input JOIN jobs AS job USING (id, tenant_id)
    -- guard: end-from-states
    WHERE job.state = ANY (string_to_array(input.from_states, ' '))
        -- guard: end-run-no
        AND (input.run_no IS NULL OR job.run_no = input.run_no)
        -- guard: end-lease-token
        AND (input.lease_token IS NULL OR job.lease_token = input.lease_token)
    ORDER BY job.id
    -- Locked rows are skipped, so that one does not delay the others; store.apply reports them, and they are retried.
    -- guard: end-row-lock
    FOR UPDATE OF job SKIP LOCKED
), changed AS (
    UPDATE jobs AS job
    SET state = held.to_state,
        version = job.version + 1,
        attempts_used = CASE WHEN held.resets_attempts THEN 0 ELSE job.attempts_used + held.attempts_delta END,
        worker_losses = CASE WHEN held.resets_attempts THEN 0 ELSE job.worker_losses + held.loses_worker::int END,
        -- In a row: an attempt that counted ends it, and so does a manual retry.
        snoozes = CASE
            WHEN held.resets_attempts OR held.attempt_outcome = 'retried' THEN 0
            ELSE job.snoozes + held.counts_snooze::int
        END,
        snoozed_since = CASE
            WHEN held.resets_attempts OR held.attempt_outcome = 'retried' THEN NULL
            WHEN held.counts_snooze THEN coalesce(job.snoozed_since, now())
            ELSE job.snoozed_since
        END,
        run_at = CASE WHEN held.delay IS NULL THEN job.run_at ELSE now() + make_interval(secs => held.delay) END,
        finished_at = CASE WHEN held.to_state NOT IN ('queued', 'running') THEN now() END,
        deadline_at = CASE WHEN held.resets_attempts THEN NULL ELSE job.deadline_at END,
        lease_token = NULL,
        lease_expires_at = NULL,
        worker_id = NULL,
        input_tokens = held.input_tokens,
        output_tokens = held.output_tokens,
        error_class = CASE WHEN held.to_state <> 'queued' THEN held.error_class END,
        error_code = CASE WHEN held.to_state <> 'queued' THEN held.error_code END,
        error_message = CASE WHEN held.to_state <> 'queued' THEN held.error_message END
    FROM held
    WHERE job.id = held.id AND job.tenant_id = held.tenant_id
    RETURNING
        job.id, job.tenant_id, job.version, job.model, job.run_at, job.webhook_url, job.webhook_events,
        job.input_tokens, job.output_tokens, held.old_state, held.to_state, held.attempt_outcome, held.response_type,
        held.error_code AS failure_code, held.error_message AS failure_message
), closed AS (
    UPDATE attempts AS attempt
    SET outcome = held.attempt_outcome,
        finished_at = now(),
        error_class = held.error_class,
        error_code = held.error_code,
        error_message = held.error_message,
        http_status = held.http_status,
        retry_after = held.retry_after,
        wait_seconds = held.delay,
        billed = CASE WHEN attempt.called_at IS NULL THEN 'no' ELSE held.billed END,
        usage = held.usage::jsonb,
        provider_request_id = held.provider_request_id
    FROM held
    WHERE attempt.job_id = held.id AND attempt.tenant_id = held.tenant_id
        AND attempt.run_no = held.old_run_no AND held.attempt_outcome IS NOT NULL
        -- guard: end-open-attempt
        AND attempt.outcome = 'running'
), forgotten AS (
    -- A job that waits for a day is snoozed a thousand times: its last 20 runs are enough to keep.
    DELETE FROM attempts AS attempt USING held
    WHERE held.attempt_outcome = 'snoozed'
        AND attempt.job_id = held.id AND attempt.tenant_id = held.tenant_id AND attempt.run_no <= held.old_run_no - 20
        AND attempt.outcome = 'snoozed' AND attempt.billed = 'no'
), stored AS (
    INSERT INTO results (job_id, tenant_id, run_no, output)
    SELECT id, tenant_id, old_run_no, output FROM held WHERE output IS NOT NULL
), progress AS (
    SELECT
        id, tenant_id, CASE WHEN old_state = 'running' THEN 'job.retrying' ELSE 'job.queued' END AS event_type,
        to_state AS status, model, version,
        CASE WHEN old_state = 'running' THEN jsonb_build_object(
            'run_at', to_char(run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'error', jsonb_build_object('code', failure_code, 'message', failure_message)
        ) ELSE '{}' END AS more,
        webhook_url, webhook_events
    FROM changed
    WHERE to_state = 'queued' AND attempt_outcome IS DISTINCT FROM 'snoozed'
),
-- include: core/webhooks/sql/progress_events.sql
ended AS (
    SELECT
        changed.*,
        CASE
            WHEN to_state = 'succeeded' THEN jsonb_build_object(
                'usage', jsonb_build_object('input_tokens', input_tokens, 'output_tokens', output_tokens)
            )
            WHEN failure_code IS NOT NULL THEN jsonb_build_object(
                'error', jsonb_build_object('code', failure_code, 'message', failure_message)
            )
            ELSE '{}'
        END AS more
    FROM changed
    WHERE response_type IS NOT NULL
), event AS (
    SELECT
        id, tenant_id, inferd_uuid7() AS event_id, 'job.' || to_state AS event_type, to_state AS status, model, version,
        more, webhook_url, webhook_events
    FROM ended
    UNION ALL
    -- The same end by OpenAI's name, for endpoints that ask for that: another event with the same data.
    SELECT id, tenant_id, inferd_uuid7(), response_type, to_state, model, version, more, NULL, '{}'
    FROM ended
    WHERE EXISTS (
        SELECT FROM webhook_endpoints AS endpoint
        WHERE endpoint.tenant_id = ended.tenant_id AND ended.response_type = ANY (endpoint.event_types)
    )
    UNION ALL
    SELECT * FROM progress_event
),
-- include: core/webhooks/sql/publish.sql
SELECT
    changed.id, changed.version,
    array(
        SELECT published.id FROM published WHERE published.job_id = changed.id AND published.state = 'pending'
    ) AS delivery_ids
FROM changed
