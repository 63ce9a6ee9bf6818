-- Whole jobs for their callers: the row, the output, the attempts and the deliveries, in one round trip.
SELECT
    job.id, job.tenant_id, job.state, job.version, job.model, job.request, job.meta::text AS metadata, job.priority,
    job.request_id, job.created_at, job.run_at, job.started_at, job.finished_at, job.queue_ms,
    job.deadline_at, job.timeout_seconds,
    job.max_attempts, job.retry_initial_seconds, job.retry_max_seconds, job.attempts_used, job.run_no, job.webhook_url, job.webhook_events,
    job.input_tokens, job.output_tokens, job.error_class, job.error_code, job.error_message,
    result.output,
    (
        SELECT jsonb_agg(jsonb_build_object(
            'attempt', attempt.attempt, 'run_no', attempt.run_no, 'provider', attempt.provider,
            'outcome', attempt.outcome, 'started_at', attempt.started_at, 'finished_at', attempt.finished_at,
            'error_class', attempt.error_class, 'error_code', attempt.error_code, 'error_message', attempt.error_message,
            'http_status', attempt.http_status, 'retry_after', attempt.retry_after,
            'wait_seconds', attempt.wait_seconds, 'billed', attempt.billed, 'usage', attempt.usage,
            'provider_request_id', attempt.provider_request_id
        ) ORDER BY attempt.run_no)::text
        FROM attempts AS attempt WHERE attempt.job_id = job.id AND attempt.tenant_id = job.tenant_id
    ) AS attempts,
    (
        SELECT jsonb_agg(jsonb_build_object(
            'id', delivery.id, 'event_type', delivery.event_type, 'state', delivery.state, 'attempts', delivery.attempts,
            'status', delivery.last_status, 'error', delivery.last_error, 'delivered_at', delivery.delivered_at,
            'next_attempt_at', CASE WHEN delivery.state = 'pending' THEN delivery.next_attempt_at END
        ) ORDER BY delivery.id)::text
        FROM deliveries AS delivery WHERE delivery.tenant_id = job.tenant_id AND delivery.job_id = job.id
    ) AS deliveries
FROM :rows AS wanted
JOIN jobs AS job USING (id, tenant_id)
LEFT JOIN results AS result ON result.job_id = job.id AND result.tenant_id = job.tenant_id
