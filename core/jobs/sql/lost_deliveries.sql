-- Deliveries whose sender died: its lease ran out. Read-only: Redis is compared next.
SELECT id, tenant_id FROM deliveries
WHERE lease_token IS NOT NULL AND lease_expires_at < now() AND state = 'pending'
LIMIT :most
