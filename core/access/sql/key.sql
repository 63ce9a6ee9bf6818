-- The key of this public id, if it is valid now.
SELECT tenant_id, id, secret_hash FROM api_keys
WHERE public_id = :public_id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
