-- Due deliveries that no worker has, of the next :tenants after :after_tenant: two for each target, which enqueue the rest
-- as they end. Of each tenant so many :targets are looked at, after the place where the last look at it ended (:rows), so
-- that no tenant's backlog delays another's, however many hosts it has. Read-only: Redis is compared next.
WITH RECURSIVE known AS (
    (
        SELECT tenant_id FROM deliveries
        WHERE state = 'pending' AND lease_token IS NULL AND tenant_id > :after_tenant
        ORDER BY tenant_id
        LIMIT 1
    )
    UNION ALL
    SELECT next.tenant_id
    FROM known CROSS JOIN LATERAL (
        SELECT tenant_id FROM deliveries
        WHERE state = 'pending' AND lease_token IS NULL AND tenant_id > known.tenant_id
        ORDER BY tenant_id
        LIMIT 1
    ) AS next
), tenant AS (
    SELECT known.tenant_id, coalesce(last.target, '00000000-0000-0000-0000-000000000000') AS target,
        coalesce(last.host, '') AS host
    FROM (SELECT tenant_id FROM known LIMIT :tenants) AS known
    LEFT JOIN :rows AS last USING (tenant_id)
)
SELECT tenant.tenant_id, look.*
FROM tenant CROSS JOIN LATERAL (
    WITH RECURSIVE visited AS (
        (
            SELECT target, host, 1 AS step FROM deliveries
            WHERE tenant_id = tenant.tenant_id AND (target, host) > (tenant.target, tenant.host)
                AND state = 'pending' AND lease_token IS NULL
            ORDER BY target, host
            LIMIT 1
        )
        UNION ALL
        SELECT next.target, next.host, visited.step + 1
        FROM visited CROSS JOIN LATERAL (
            SELECT target, host FROM deliveries
            WHERE tenant_id = tenant.tenant_id AND (target, host) > (visited.target, visited.host)
                AND state = 'pending' AND lease_token IS NULL
            ORDER BY target, host
            LIMIT 1
        ) AS next
        WHERE visited.step < :targets
    )
    SELECT
        count(*) AS looked_at,
        (array_agg(visited.target ORDER BY visited.step DESC))[1] AS target,
        (array_agg(visited.host ORDER BY visited.step DESC))[1] AS host,
        array(
            SELECT first.id
            FROM visited CROSS JOIN LATERAL (
                SELECT id FROM deliveries
                WHERE tenant_id = tenant.tenant_id AND target = visited.target AND host = visited.host
                    AND state = 'pending' AND lease_token IS NULL AND next_attempt_at <= now()
                ORDER BY next_attempt_at, id
                LIMIT 2
            ) AS first
        ) AS delivery_ids
    FROM visited
) AS look
