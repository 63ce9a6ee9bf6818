-- Sends one delivery again, now: under its own id, without using up an attempt of its schedule. One that had ended
-- starts its schedule anew behind this.
UPDATE deliveries AS delivery
SET state = 'pending',
    trigger = 'manual',
    slots_used = CASE WHEN delivery.state = 'pending' THEN delivery.slots_used ELSE 0 END,
    delivered_at = NULL,
    next_attempt_at = now(),
    lease_token = NULL,
    lease_expires_at = NULL,
    url = coalesce((
        SELECT endpoint.url FROM webhook_endpoints AS endpoint
        WHERE endpoint.id = delivery.endpoint_id AND endpoint.tenant_id = delivery.tenant_id
    ), delivery.url)
WHERE delivery.id = :id AND delivery.tenant_id = :tenant_id
