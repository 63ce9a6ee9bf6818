-- Notes that a key was used: at most once a minute, so that a busy key does not become a hot row.
UPDATE api_keys SET last_used_at = now()
WHERE tenant_id = :tenant_id AND id = :id AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
