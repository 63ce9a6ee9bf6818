-- Makes the deliveries of events, one for each recipient. Needs `event` (id, tenant_id, event_id, event_type,
-- webhook_url, webhook_events, body), where id is the job's; a job's own webhook gets the types that it names.
published AS (
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
