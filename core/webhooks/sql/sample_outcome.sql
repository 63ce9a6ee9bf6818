-- How a delivery that a caller asked for stands.
SELECT state, last_status, last_error FROM deliveries WHERE id = :id AND tenant_id = :tenant_id
