-- Publishes that endpoints were disabled, to those other endpoints of their tenants that ask for the event.
INSERT INTO deliveries (id, tenant_id, endpoint_id, event_id, event_type, url, body)
SELECT inferd_uuid7(), recipient.tenant_id, recipient.id, event.event_id, :event_type, recipient.url, event.body
FROM :rows AS event
JOIN webhook_endpoints AS recipient ON recipient.tenant_id = event.tenant_id AND recipient.id <> event.endpoint_id
WHERE recipient.enabled AND :event_type = ANY (recipient.event_types)
RETURNING id, tenant_id
