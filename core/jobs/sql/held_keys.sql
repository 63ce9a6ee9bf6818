-- Which jobs hold these idempotency keys.
SELECT held.tenant_id, held.key, held.fingerprint, held.job_id
FROM unnest($1::uuid[], $2::text[]) AS wanted (tenant_id, key)
JOIN idempotency AS held USING (tenant_id, key)
