-- Every edge but the claim: one guarded UPDATE, and with it the attempt, the result and the webhook rows.
-- A row is changed only if it is still in a from-state and, where the asker names them, under its run_no and token.
WITH input AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::int[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::int[], $9::bool[],
        $10::bool[], $11::bool[], $12::float8[], $13::text[], $14::text[], $15::text[], $16::int[], $17::float8[],
        $18::text[], $19::int[], $20::int[], $21::text[], $22::text[], $23::bytea[], $24::uuid[], $25::text[],
        $26::bytea[], $27::text[]
    ) AS row (
        id, tenant_id, run_no, token, from_states, to_state, outcome, attempts_delta, resets_attempts,
        loses_worker, counts_snooze, delay, error_class, error_code, error_message, http_status, retry_after, billed,
        input_tokens, output_tokens, usage, provider_request_id, output, event_id, event_type, body,
        response_type
    )
), held AS (
    SELECT input.*, job.state AS old_state, job.run_no AS old_run_no, job.webhook_url, job.webhook_events
    FROM input JOIN jobs AS job USING (id, tenant_id)
    -- guard: end-from-states
    WHERE job.state = ANY (string_to_array(input.from_states, ' '))
        -- guard: end-run-no
        AND (input.run_no IS NULL OR job.run_no = input.run_no)
        -- guard: end-lease-token
        AND (input.token IS NULL OR job.lease_token = input.token)
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
            WHEN held.resets_attempts OR held.outcome = 'retried' THEN 0 ELSE job.snoozes + held.counts_snooze::int
        END,
        snoozed_since = CASE
            WHEN held.resets_attempts OR held.outcome = 'retried' THEN NULL
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
        held.old_state, held.to_state, held.outcome, held.error_code AS failure_code, held.error_message AS failure_message
), closed AS (
    UPDATE attempts AS attempt
    SET outcome = held.outcome,
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
        AND attempt.run_no = held.old_run_no AND held.outcome IS NOT NULL
        -- guard: end-open-attempt
        AND attempt.outcome = 'running'
), forgotten AS (
    -- A job that waits for a day is snoozed a thousand times: its last 20 runs are enough to keep.
    DELETE FROM attempts AS attempt USING held
    WHERE held.outcome = 'snoozed'
        AND attempt.job_id = held.id AND attempt.tenant_id = held.tenant_id AND attempt.run_no <= held.old_run_no - 20
        AND attempt.outcome = 'snoozed' AND attempt.billed = 'no'
), stored AS (
    INSERT INTO results (job_id, tenant_id, run_no, output)
    SELECT id, tenant_id, old_run_no, output FROM held WHERE output IS NOT NULL
), step AS (
    -- Seldom any: only who asked for it hears of more than a job's end.
    SELECT
        changed.*, inferd_uuid7() AS event_id,
        CASE WHEN old_state = 'running' THEN 'job.retrying' ELSE 'job.queued' END AS event_type,
        CASE WHEN old_state = 'running' THEN jsonb_build_object(
            'run_at', to_char(run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'error', jsonb_build_object('code', failure_code, 'message', failure_message)
        ) ELSE '{}' END AS more
    FROM changed
    WHERE to_state = 'queued' AND outcome IS DISTINCT FROM 'snoozed' AND (
        webhook_events && ARRAY['job.queued', 'job.retrying']
        OR changed.tenant_id IN (SELECT tenant_id FROM webhook_endpoints WHERE follows)
    )
), alias AS (
    -- The end by OpenAI's name, where somebody asked for that: another event, with the same to say.
    SELECT held.id, held.tenant_id, held.response_type, held.body, inferd_uuid7() AS event_id
    FROM held
    WHERE held.body IS NOT NULL AND EXISTS (
        SELECT FROM webhook_endpoints AS endpoint
        WHERE endpoint.tenant_id = held.tenant_id AND held.response_type = ANY (endpoint.event_types)
    )
), event AS (
    SELECT id, tenant_id, event_id, event_type, webhook_url, webhook_events, body FROM held WHERE body IS NOT NULL
    UNION ALL
    SELECT
        id, tenant_id, event_id, response_type, NULL, '{}',
        convert_to((convert_from(body, 'UTF8')::jsonb || jsonb_build_object(
            'id', 'evt_' || replace(event_id::text, '-', ''), 'type', response_type
        ))::text, 'UTF8')
    FROM alias
    UNION ALL
    SELECT
        id, tenant_id, event_id, event_type, webhook_url, webhook_events,
        inferd_job_event(event_id, event_type, id, 'queued', model, version, more)
    FROM step
), announced AS (
    -- A disabled endpoint's are kept too, unsent: enabling it and a recovery send them.
    INSERT INTO deliveries (id, tenant_id, job_id, endpoint_id, event_id, event_type, url, body, state)
    SELECT inferd_uuid7(), tenant_id, id, NULL, event_id, event_type, webhook_url, body, 'pending'
    FROM event WHERE webhook_url IS NOT NULL AND event_type = ANY (webhook_events)
    UNION ALL
    SELECT
        inferd_uuid7(), event.tenant_id, event.id, endpoint.id, event_id, event_type, endpoint.url, body,
        CASE WHEN endpoint.enabled THEN 'pending' ELSE 'skipped' END
    FROM event JOIN webhook_endpoints AS endpoint ON endpoint.tenant_id = event.tenant_id
    WHERE event.event_type = ANY (endpoint.event_types)
    RETURNING id, job_id, state
)
SELECT
    changed.id, changed.version,
    array(
        SELECT announced.id FROM announced WHERE announced.job_id = changed.id AND announced.state = 'pending'
    ) AS delivery_ids
FROM changed
