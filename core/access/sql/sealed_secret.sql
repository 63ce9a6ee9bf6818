-- One sealed row of any tenant: '\x01' is the first byte of a sealed record (core/db/sealed.py).
SELECT id, webhook_secret FROM tenants WHERE substring(webhook_secret FROM 1 FOR 1) = '\x01'
ORDER BY created_at, id
LIMIT 1
