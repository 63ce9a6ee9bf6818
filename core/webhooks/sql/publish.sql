-- Makes the deliveries of events, one for each recipient. Needs `event` (id, tenant_id, event_id, event_type, status,
-- model, version, more, webhook_url, webhook_events), where id is the job's; a job's own webhook gets the types that it
-- names. `inferd_job_event` writes the body: `JobEvent` of core/domain/events.py.
recipient AS (
    SELECT event.*, NULL::uuid AS endpoint_id, webhook_url AS url, 'pending' AS delivery_state
    FROM event WHERE webhook_url IS NOT NULL AND event_type = ANY (webhook_events)
    UNION ALL
    -- A disabled endpoint's are kept too, unsent: enabling it and a recovery send them.
    SELECT event.*, endpoint.id, endpoint.url, CASE WHEN endpoint.enabled THEN 'pending' ELSE 'skipped' END
    FROM event JOIN webhook_endpoints AS endpoint ON endpoint.tenant_id = event.tenant_id
    WHERE event.event_type = ANY (endpoint.event_types)
), published AS (
    INSERT INTO deliveries (id, tenant_id, job_id, endpoint_id, event_id, event_type, url, state, body)
    SELECT
        inferd_uuid7(), tenant_id, id, endpoint_id, event_id, event_type, url, delivery_state,
        inferd_job_event(event_id, event_type, id, status, model, version, more)
    FROM recipient
    RETURNING id, job_id, state
)
