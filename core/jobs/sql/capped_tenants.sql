-- Tenants with caps of their own, and whether there is more than one tenant (in each row; one row without id if none).
SELECT capped.id, capped.max_slots, (SELECT count(*) FROM (SELECT FROM tenants LIMIT 2) AS few)::int AS tenants
FROM (VALUES (1)) AS always (one) LEFT JOIN tenants AS capped ON capped.max_slots IS NOT NULL
