-- All living workers' slots, whether there is more than one tenant, and tenants with caps of their own (one row without
-- id if none). Not part of a renewal: what it reads grows with the fleet.
SELECT capped.id, capped.max_slots, (SELECT count(*) FROM (SELECT FROM tenants LIMIT 2) AS few)::int AS tenants,
    (
        SELECT coalesce(sum(slots), 0) FROM workers WHERE dead_at IS NULL AND lease_expires_at > now()
    )::int AS slots
FROM (VALUES (1)) AS always (one) LEFT JOIN tenants AS capped ON capped.max_slots IS NOT NULL
