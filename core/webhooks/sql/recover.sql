-- The next :page_size deliveries of one recovery's endpoint: those in its range are sent again as by hand, the older ones first,
-- unless they had :most_attempts already. The recovery stores its position, so whichever worker continues it, and after
-- whatever crash, no delivery is taken twice and none is left out. Whose it is, chance decides: each tenant with something
-- to recover gets as many batches as any other.
WITH chosen AS (
    SELECT tenant_id FROM webhook_recoveries WHERE state = 'running' GROUP BY tenant_id ORDER BY random() LIMIT 1
), recovery AS (
    SELECT * FROM webhook_recoveries
    WHERE state = 'running' AND tenant_id = (SELECT tenant_id FROM chosen)
    ORDER BY id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
), bounds AS (
    SELECT
        coalesce(position, (
            lpad(to_hex((greatest(extract(epoch FROM since) - 3600, 0) * 1000)::bigint), 12, '0') || repeat('0', 20)
        )::uuid) AS first,
        (
            lpad(to_hex((greatest(extract(epoch FROM until) + 3600, 0) * 1000)::bigint), 12, '0') || repeat('0', 20)
        )::uuid AS last
    FROM recovery
), page AS (
    -- So many are looked at, however few of them are to be sent.
    SELECT delivery.id, delivery.tenant_id
    FROM recovery CROSS JOIN bounds JOIN deliveries AS delivery
        ON delivery.tenant_id = recovery.tenant_id AND delivery.endpoint_id = recovery.endpoint_id
    -- An id has the time when it was made, nearly: an hour is more than any transaction takes.
    WHERE delivery.id > bounds.first
        AND delivery.id < bounds.last
    ORDER BY delivery.id
    LIMIT :page_size
), batch AS (
    SELECT delivery.id, delivery.tenant_id
    FROM recovery, page JOIN deliveries AS delivery USING (id, tenant_id)
    WHERE delivery.created_at >= recovery.since AND delivery.created_at < recovery.until
        AND delivery.state = ANY (recovery.statuses) AND delivery.trigger <> 'test' AND delivery.attempts < :most_attempts
    ORDER BY delivery.id
    FOR UPDATE OF delivery
), requeued AS (
    UPDATE deliveries AS delivery
    SET state = 'pending',
        trigger = 'recovery',
        slots_used = CASE WHEN delivery.state = 'pending' THEN delivery.slots_used ELSE 0 END,
        delivered_at = NULL,
        next_attempt_at = now(),
        url = endpoint.url
    FROM batch, webhook_endpoints AS endpoint
    WHERE delivery.id = batch.id AND delivery.tenant_id = batch.tenant_id
        AND endpoint.id = delivery.endpoint_id AND endpoint.tenant_id = delivery.tenant_id
        -- What is being sent right now needs no help.
        AND (delivery.lease_token IS NULL OR delivery.lease_expires_at < now())
    RETURNING delivery.id
)
UPDATE webhook_recoveries AS row
SET requeued = recovery.requeued + (SELECT count(*) FROM requeued),
    total = greatest(recovery.total, recovery.requeued + (SELECT count(*) FROM requeued)),
    position = coalesce((SELECT id FROM page ORDER BY id DESC LIMIT 1), recovery.position),
    state = CASE WHEN (SELECT count(*) FROM page) < :page_size THEN 'completed' ELSE 'running' END,
    finished_at = CASE WHEN (SELECT count(*) FROM page) < :page_size THEN now() END
FROM recovery
WHERE row.id = recovery.id AND row.tenant_id = recovery.tenant_id
RETURNING
    row.id, row.tenant_id, row.requeued, row.state,
    -- The first ones enqueue the rest as they end.
    array(SELECT id FROM requeued ORDER BY id LIMIT 2) AS delivery_ids
