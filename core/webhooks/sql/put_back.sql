-- Deliveries that were not sent, because too many are on their way to the same address: no attempt is used up.
UPDATE deliveries AS delivery
SET attempts = delivery.attempts - 1,
    slots_used = delivery.slots_used - (delivery.trigger = 'scheduled')::int,
    next_attempt_at = now() + make_interval(secs => row.delay),
    lease_token = NULL,
    lease_expires_at = NULL
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::float8[]) AS row (id, tenant_id, token, delay)
WHERE delivery.id = row.id AND delivery.tenant_id = row.tenant_id AND delivery.lease_token = row.token
    AND delivery.state = 'pending'
RETURNING delivery.id
