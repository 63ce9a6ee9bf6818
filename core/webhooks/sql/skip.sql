-- What waits for endpoints that were disabled: kept, to be recovered, but not sent.
UPDATE deliveries AS delivery
SET state = 'skipped', lease_token = NULL, lease_expires_at = NULL
FROM unnest($1::uuid[], $2::uuid[]) AS disabled (endpoint_id, tenant_id)
WHERE delivery.endpoint_id = disabled.endpoint_id AND delivery.tenant_id = disabled.tenant_id
    AND delivery.state = 'pending' AND (delivery.lease_token IS NULL OR delivery.lease_expires_at < now())
    AND delivery.trigger <> 'test'
