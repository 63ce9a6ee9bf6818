-- Deliveries that are due and in nobody's hands: two for each target, which ring for the rest as they end, and those
-- whose sender died; goes on behind ($2, $3). Read-only: Redis is asked next.
WITH RECURSIVE lane AS (
    -- From one target to the next by the index, however many wait for each.
    (
        SELECT host, target FROM deliveries WHERE state = 'pending' AND lease_token IS NULL
        ORDER BY host, target
        LIMIT 1
    )
    UNION ALL
    SELECT next.host, next.target
    FROM lane CROSS JOIN LATERAL (
        SELECT host, target FROM deliveries
        WHERE state = 'pending' AND lease_token IS NULL AND (host, target) > (lane.host, lane.target)
        ORDER BY host, target
        LIMIT 1
    ) AS next
), due AS (
    SELECT first.id, first.due_at
    FROM lane CROSS JOIN LATERAL (
        SELECT id, next_attempt_at AS due_at FROM deliveries
        WHERE host = lane.host AND target = lane.target AND state = 'pending' AND lease_token IS NULL
            AND next_attempt_at <= now()
        ORDER BY next_attempt_at, id
        LIMIT 2
    ) AS first
    UNION ALL
    SELECT id, next_attempt_at FROM deliveries
    WHERE lease_token IS NOT NULL AND lease_expires_at < now() AND state = 'pending'
)
SELECT id, due_at FROM due
WHERE (due_at, id) > ($2, $3)
ORDER BY due_at, id
LIMIT $1
