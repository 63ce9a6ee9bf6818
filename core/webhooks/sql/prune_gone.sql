-- What deleted endpoints leave: goes from endpoint to endpoint of those that have deliveries, :endpoints of them after
-- (:after_tenant, :after_endpoint), and deletes at most :most deliveries, with their log, of the first that is gone. Whoever
-- goes on with it, and after whatever crash, finds what is left. What is being sent right now is left to the next time.
WITH RECURSIVE known AS (
    (
        SELECT tenant_id, endpoint_id, 1 AS step FROM deliveries
        WHERE endpoint_id IS NOT NULL AND (tenant_id, endpoint_id) > (:after_tenant::uuid, :after_endpoint::uuid)
        ORDER BY tenant_id, endpoint_id
        LIMIT 1
    )
    UNION ALL
    SELECT next.tenant_id, next.endpoint_id, known.step + 1
    FROM known CROSS JOIN LATERAL (
        SELECT tenant_id, endpoint_id FROM deliveries
        WHERE endpoint_id IS NOT NULL AND (tenant_id, endpoint_id) > (known.tenant_id, known.endpoint_id)
        ORDER BY tenant_id, endpoint_id
        LIMIT 1
    ) AS next
    WHERE known.step < :endpoints
), gone AS (
    SELECT tenant_id, endpoint_id FROM known
    WHERE NOT EXISTS (
        SELECT FROM webhook_endpoints AS endpoint
        WHERE endpoint.id = known.endpoint_id AND endpoint.tenant_id = known.tenant_id
    )
    ORDER BY tenant_id, endpoint_id
    LIMIT 1
), doomed AS (
    SELECT delivery.id, delivery.tenant_id
    FROM gone JOIN deliveries AS delivery USING (tenant_id, endpoint_id)
    WHERE delivery.lease_token IS NULL OR delivery.lease_expires_at < now()
    ORDER BY delivery.id
    LIMIT :most
    FOR UPDATE OF delivery SKIP LOCKED
), deleted AS (
    DELETE FROM deliveries USING doomed
    WHERE deliveries.id = doomed.id AND deliveries.tenant_id = doomed.tenant_id
    RETURNING deliveries.id
), last AS (
    SELECT tenant_id, endpoint_id FROM known ORDER BY step DESC LIMIT 1
)
SELECT
    (SELECT count(*) FROM deleted) AS deleted,
    (SELECT count(*) FROM known) AS looked_at,
    coalesce(gone.tenant_id, last.tenant_id) AS tenant_id,
    coalesce(gone.endpoint_id, last.endpoint_id) AS endpoint_id,
    gone.endpoint_id IS NOT NULL AS found
FROM last LEFT JOIN gone ON true
