-- Which jobs hold these idempotency keys. Without a state: the job was deleted.
SELECT held.tenant_id, held.key, held.fingerprint, held.job_id, job.state
FROM :rows AS wanted
JOIN idempotency AS held USING (tenant_id, key)
LEFT JOIN jobs AS job ON job.id = held.job_id AND job.tenant_id = held.tenant_id
