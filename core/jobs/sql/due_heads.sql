-- For each tenant with queued jobs in a lane ($1), from the one after $2 on and $3 at most: the $4 jobs that come first
-- of those that are due, and how many jobs of the tenant run. Read-only.
-- $5 is 'running': written here, it would let the planner go through all that runs for each tenant.
WITH RECURSIVE waiting AS (
    -- From one tenant to the next by the index, however many jobs each has.
    (
        SELECT tenant_id, 1 AS place FROM jobs
        WHERE state = 'queued' AND priority = $1 AND tenant_id > $2
        ORDER BY tenant_id
        LIMIT 1
    )
    UNION ALL
    SELECT next.tenant_id, waiting.place + 1
    FROM waiting CROSS JOIN LATERAL (
        SELECT tenant_id FROM jobs
        WHERE state = 'queued' AND priority = $1 AND tenant_id > waiting.tenant_id
        ORDER BY tenant_id
        LIMIT 1
    ) AS next
    WHERE waiting.place < $3
)
SELECT
    waiting.tenant_id, head.ids,
    (SELECT count(*) FROM jobs WHERE tenant_id = waiting.tenant_id AND state = $5)::int AS running
FROM waiting CROSS JOIN LATERAL (
    SELECT array(
        SELECT id FROM jobs
        WHERE state = 'queued' AND priority = $1 AND tenant_id = waiting.tenant_id AND run_at <= now()
        ORDER BY run_at, id
        LIMIT $4
    ) AS ids
) AS head
ORDER BY waiting.tenant_id
