-- For each tenant with queued jobs in a lane, :tenants of them after :after_tenant: the first :jobs_each that are due, and
-- how many jobs of the tenant run. Read-only.
-- :running is the state of that name: written here, the planner might read everything that runs for each tenant.
WITH RECURSIVE waiting AS (
    -- From one tenant to the next by the index, however many jobs each has.
    (
        SELECT tenant_id, 1 AS place FROM jobs
        WHERE state = 'queued' AND priority = :lane AND tenant_id > :after_tenant
        ORDER BY tenant_id
        LIMIT 1
    )
    UNION ALL
    SELECT next.tenant_id, waiting.place + 1
    FROM waiting CROSS JOIN LATERAL (
        SELECT tenant_id FROM jobs
        WHERE state = 'queued' AND priority = :lane AND tenant_id > waiting.tenant_id
        ORDER BY tenant_id
        LIMIT 1
    ) AS next
    WHERE waiting.place < :tenants
)
SELECT
    waiting.tenant_id, head.ids,
    (SELECT count(*) FROM jobs WHERE tenant_id = waiting.tenant_id AND state = :running)::int AS running
FROM waiting CROSS JOIN LATERAL (
    SELECT array(
        SELECT id FROM jobs
        WHERE state = 'queued' AND priority = :lane AND tenant_id = waiting.tenant_id AND run_at <= now()
        ORDER BY run_at, id
        LIMIT :jobs_each
    ) AS ids
) AS head
ORDER BY waiting.tenant_id
