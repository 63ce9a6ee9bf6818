-- Leases due deliveries, with what signing them needs. A lease that ran out is taken over: its sender died.
WITH wanted AS (
    SELECT id, tenant_id, next_attempt_at
    FROM deliveries
    WHERE id = ANY ($1::uuid[]) AND state = 'pending' AND (lease_token IS NULL OR lease_expires_at < now())
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE deliveries AS delivery
    SET lease_token = gen_random_uuid(),
        lease_expires_at = now() + make_interval(secs => $2),
        attempts = delivery.attempts + 1
    FROM wanted
    WHERE delivery.id = wanted.id AND delivery.tenant_id = wanted.tenant_id AND wanted.next_attempt_at <= now()
    RETURNING delivery.*
)
SELECT
    wanted.id, extract(epoch FROM wanted.next_attempt_at - now())::float8 AS seconds_until_due,
    claimed.tenant_id, claimed.lease_token, claimed.event_id, claimed.event_type, claimed.url, claimed.body,
    claimed.attempts, claimed.endpoint_id, coalesce(endpoint.secret, tenant.webhook_secret) AS secret
FROM wanted
LEFT JOIN claimed USING (id)
LEFT JOIN tenants AS tenant ON tenant.id = claimed.tenant_id
LEFT JOIN webhook_endpoints AS endpoint
    ON endpoint.id = claimed.endpoint_id AND endpoint.tenant_id = claimed.tenant_id
