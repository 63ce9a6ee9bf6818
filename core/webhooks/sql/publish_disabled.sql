-- Publishes that endpoints were disabled, to those other endpoints of their tenants that ask for the event. The body is
-- `WebhookEvent` of core/domain/events.py.
WITH disabled AS MATERIALIZED (
    SELECT endpoint.*, inferd_uuid7() AS event_id FROM :rows AS endpoint
)
INSERT INTO deliveries (id, tenant_id, endpoint_id, event_id, event_type, url, body)
SELECT
    inferd_uuid7(), recipient.tenant_id, recipient.id, disabled.event_id, 'webhook.disabled', recipient.url,
    inferd_event(disabled.event_id, 'webhook.disabled', json_build_object(
        'id', 'we_' || replace(disabled.id::text, '-', ''), 'reason', disabled.reason, 'failures', disabled.failures
    ))
FROM disabled
JOIN webhook_endpoints AS recipient ON recipient.tenant_id = disabled.tenant_id AND recipient.id <> disabled.id
WHERE recipient.enabled AND 'webhook.disabled' = ANY (recipient.event_types)
RETURNING id, tenant_id
