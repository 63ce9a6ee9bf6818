-- After an endpoint was disabled or has another URL: the next of its deliveries that wait, at most :most, are skipped, or go
-- to the new host. The claim would do the same to each; this makes the list say so, and the caps count them where they
-- go. Of one endpoint (:endpoint_id), or of whichever is next.
WITH endpoint AS (
    SELECT id, tenant_id, enabled, url, inferd_url_host(url) AS host FROM webhook_endpoints
    WHERE unsettled_at IS NOT NULL AND (:endpoint_id::uuid IS NULL OR id = :endpoint_id)
    ORDER BY unsettled_at
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
), stray AS (
    SELECT found.id, endpoint.tenant_id, endpoint.enabled, endpoint.url
    FROM endpoint CROSS JOIN LATERAL (
        (
            SELECT id, tenant_id FROM deliveries
            WHERE tenant_id = endpoint.tenant_id AND target = endpoint.id AND host < endpoint.host
                AND state = 'pending' AND lease_token IS NULL
            ORDER BY host
            LIMIT :most
        )
        UNION ALL
        (
            SELECT id, tenant_id FROM deliveries
            WHERE tenant_id = endpoint.tenant_id AND target = endpoint.id AND host > endpoint.host
                AND state = 'pending' AND lease_token IS NULL
            ORDER BY host
            LIMIT :most
        )
        UNION ALL
        (
            SELECT id, tenant_id FROM deliveries
            WHERE tenant_id = endpoint.tenant_id AND target = endpoint.id AND host = endpoint.host
                AND state = 'pending' AND lease_token IS NULL AND NOT endpoint.enabled AND trigger <> 'test'
            ORDER BY next_attempt_at
            LIMIT :most
        )
        LIMIT :most
    ) AS found
), held AS (
    SELECT delivery.id, delivery.tenant_id, stray.enabled, stray.url
    FROM stray JOIN deliveries AS delivery USING (id, tenant_id)
    WHERE delivery.state = 'pending' AND delivery.lease_token IS NULL
    FOR UPDATE OF delivery SKIP LOCKED
), changed AS (
    UPDATE deliveries AS delivery
    SET state = CASE WHEN held.enabled OR delivery.trigger = 'test' THEN 'pending' ELSE 'skipped' END,
        url = held.url
    FROM held
    WHERE delivery.id = held.id AND delivery.tenant_id = held.tenant_id
)
UPDATE webhook_endpoints AS row
SET unsettled_at = CASE WHEN (SELECT count(*) FROM stray) >= :most THEN row.unsettled_at END
FROM endpoint
WHERE row.id = endpoint.id AND row.tenant_id = endpoint.tenant_id
RETURNING row.id, row.unsettled_at IS NULL AS settled
