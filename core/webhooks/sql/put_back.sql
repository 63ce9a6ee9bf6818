-- Deliveries that were not sent, because too many are on their way to the same address: no attempt is used up.
UPDATE deliveries AS delivery
SET attempts = delivery.attempts - 1,
    slots_used = delivery.slots_used - (delivery.trigger = 'scheduled')::int,
    next_attempt_at = now() + make_interval(secs => unsent.delay),
    lease_token = NULL,
    lease_expires_at = NULL
FROM :rows AS unsent
WHERE delivery.id = unsent.id AND delivery.tenant_id = unsent.tenant_id AND delivery.lease_token = unsent.lease_token
    AND delivery.state = 'pending'
RETURNING delivery.id
