-- Tells the tenant's other endpoints, those that asked to hear of it, that one was disabled.
INSERT INTO deliveries (id, tenant_id, endpoint_id, event_id, event_type, url, body)
SELECT inferd_uuid7(), told.tenant_id, told.id, event.event_id, $4, told.url, event.body
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $5::bytea[]) AS event (endpoint_id, tenant_id, event_id, body)
JOIN webhook_endpoints AS told ON told.tenant_id = event.tenant_id AND told.id <> event.endpoint_id
WHERE told.enabled AND $4 = ANY (told.event_types)
RETURNING id, tenant_id
