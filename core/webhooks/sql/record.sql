-- How an attempt ended, if the delivery is still its sender's.
UPDATE deliveries AS delivery
SET state = ended.state,
    delivered_at = CASE WHEN ended.state = 'delivered' THEN now() END,
    next_attempt_at = CASE
        WHEN ended.delay IS NULL THEN delivery.next_attempt_at ELSE now() + make_interval(secs => ended.delay)
    END,
    lease_token = NULL,
    lease_expires_at = NULL,
    last_status = ended.status,
    last_error = ended.error
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::float8[], $5::int[], $6::text[])
    AS ended (id, token, state, delay, status, error)
WHERE delivery.id = ended.id AND delivery.lease_token = ended.token AND delivery.state = 'pending'
RETURNING delivery.id
