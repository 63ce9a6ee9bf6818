-- Who goes next, where a delivery has just ended: as many of its target's as there is room for (two at most, so that a
-- receiver that came back is called more and more), and one of the next other target of the same host, in turn.
-- $3 is the cap on a target's deliveries in flight.
WITH ended AS (
    SELECT DISTINCT host, target FROM unnest($1::text[], $2::uuid[]) AS row (host, target)
)
SELECT
    next.id,
    greatest(extract(epoch FROM endpoint.send_after - now()), 0)::float8 AS delay
FROM ended
CROSS JOIN LATERAL (
    (
        SELECT id, tenant_id, endpoint_id FROM deliveries
        WHERE host = ended.host AND target > ended.target AND state = 'pending' AND lease_token IS NULL
            AND next_attempt_at <= now()
        ORDER BY target, next_attempt_at, id
        LIMIT 1
    )
    UNION ALL
    (
        SELECT id, tenant_id, endpoint_id FROM deliveries
        WHERE host = ended.host AND target < ended.target AND state = 'pending' AND lease_token IS NULL
            AND next_attempt_at <= now()
        ORDER BY target, next_attempt_at, id
        LIMIT 1
    )
    UNION ALL
    (
        SELECT id, tenant_id, endpoint_id FROM deliveries
        WHERE host = ended.host AND target = ended.target AND state = 'pending' AND lease_token IS NULL
            AND next_attempt_at <= now()
        ORDER BY next_attempt_at, id
        LIMIT least(2, greatest(0, $3 - (
            SELECT count(*) FROM deliveries
            WHERE host = ended.host AND target = ended.target AND lease_token IS NOT NULL AND lease_expires_at >= now()
        )))
    )
) AS next
LEFT JOIN webhook_endpoints AS endpoint ON endpoint.id = next.endpoint_id AND endpoint.tenant_id = next.tenant_id
WHERE endpoint.enabled IS NOT FALSE
