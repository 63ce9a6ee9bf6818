-- Who goes next, where a delivery has just ended: as many of its target's as there is room for (two at most, so that a
-- receiver that came back is called more and more), and, in turn, one of the next other targets of the same host and of
-- the same tenant. :per_target is the cap on a target's deliveries in flight.
-- Of those in turn a few are looked at: with none of them due, the sweep finds the next one.
WITH ended AS (
    SELECT DISTINCT tenant_id, host, target FROM :rows AS written
)
SELECT
    next.id, next.tenant_id,
    greatest(extract(epoch FROM endpoint.send_after - now()), 0)::float8 AS delay
FROM ended
CROSS JOIN LATERAL (
    (
        -- By the host, from its target on; and one from the beginning.
        WITH RECURSIVE visited AS (
            (
                SELECT target, 1 AS step FROM deliveries
                WHERE host = ended.host AND target > ended.target AND state = 'pending' AND lease_token IS NULL
                ORDER BY target
                LIMIT 1
            )
            UNION ALL
            SELECT other.target, visited.step + 1
            FROM visited CROSS JOIN LATERAL (
                SELECT target FROM deliveries
                WHERE host = ended.host AND target > visited.target AND state = 'pending' AND lease_token IS NULL
                ORDER BY target
                LIMIT 1
            ) AS other
            WHERE visited.step < 5
        )
        SELECT first.*
        FROM visited CROSS JOIN LATERAL (
            SELECT id, tenant_id, endpoint_id FROM deliveries
            WHERE host = ended.host AND target = visited.target AND state = 'pending' AND lease_token IS NULL
                AND next_attempt_at <= now()
            ORDER BY next_attempt_at, id
            LIMIT 1
        ) AS first
        LIMIT 1
    )
    UNION ALL
    (
        WITH RECURSIVE visited AS (
            (
                SELECT target, 1 AS step FROM deliveries
                WHERE host = ended.host AND target < ended.target AND state = 'pending' AND lease_token IS NULL
                ORDER BY target
                LIMIT 1
            )
            UNION ALL
            SELECT other.target, visited.step + 1
            FROM visited CROSS JOIN LATERAL (
                SELECT target FROM deliveries
                WHERE host = ended.host AND target > visited.target AND target < ended.target
                    AND state = 'pending' AND lease_token IS NULL
                ORDER BY target
                LIMIT 1
            ) AS other
            WHERE visited.step < 5
        )
        SELECT first.*
        FROM visited CROSS JOIN LATERAL (
            SELECT id, tenant_id, endpoint_id FROM deliveries
            WHERE host = ended.host AND target = visited.target AND state = 'pending' AND lease_token IS NULL
                AND next_attempt_at <= now()
            ORDER BY next_attempt_at, id
            LIMIT 1
        ) AS first
        LIMIT 1
    )
    UNION ALL
    (
        -- By the tenant, who may be at its own cap: the next two that are due behind this one.
        WITH RECURSIVE visited AS (
            (
                SELECT target, host, 1 AS step FROM deliveries
                WHERE tenant_id = ended.tenant_id AND (target, host) > (ended.target, ended.host)
                    AND state = 'pending' AND lease_token IS NULL
                ORDER BY target, host
                LIMIT 1
            )
            UNION ALL
            SELECT other.target, other.host, visited.step + 1
            FROM visited CROSS JOIN LATERAL (
                SELECT target, host FROM deliveries
                WHERE tenant_id = ended.tenant_id AND (target, host) > (visited.target, visited.host)
                    AND state = 'pending' AND lease_token IS NULL
                ORDER BY target, host
                LIMIT 1
            ) AS other
            WHERE visited.step < 8
        )
        SELECT first.*
        FROM visited CROSS JOIN LATERAL (
            SELECT id, tenant_id, endpoint_id FROM deliveries
            WHERE tenant_id = ended.tenant_id AND target = visited.target AND host = visited.host
                AND state = 'pending' AND lease_token IS NULL AND next_attempt_at <= now()
            ORDER BY next_attempt_at, id
            LIMIT 1
        ) AS first
        LIMIT 2
    )
    UNION ALL
    (
        SELECT id, tenant_id, endpoint_id FROM deliveries
        WHERE host = ended.host AND target = ended.target AND state = 'pending' AND lease_token IS NULL
            AND next_attempt_at <= now()
        ORDER BY next_attempt_at, id
        LIMIT least(2, greatest(0, :per_target - (
            SELECT count(*) FROM deliveries
            WHERE host = ended.host AND target = ended.target AND lease_token IS NOT NULL AND lease_expires_at >= now()
        )))
    )
) AS next
LEFT JOIN webhook_endpoints AS endpoint ON endpoint.id = next.endpoint_id AND endpoint.tenant_id = next.tenant_id
WHERE next.endpoint_id IS NULL OR endpoint.enabled
