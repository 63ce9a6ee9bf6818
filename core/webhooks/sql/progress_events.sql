-- Events before a job's end, which go only to subscribers that opted in: usually there are none. Needs `progress` (id,
-- tenant_id, event_type, status, model, version, more, webhook_url, webhook_events), where id is the job's.
progress_event AS (
    SELECT
        id, tenant_id, inferd_uuid7() AS event_id, event_type, status, model, version, more, webhook_url, webhook_events
    FROM progress
    WHERE progress.event_type = ANY (progress.webhook_events)
        OR progress.tenant_id IN (SELECT tenant_id FROM webhook_endpoints WHERE follows)
),
