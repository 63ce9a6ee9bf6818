-- Queued jobs of one lane that are due, in the order in which they became due, after (:after_time, :after_id).
-- Read-only: Redis is compared next.
SELECT id, tenant_id, run_at AS due_at
FROM jobs
WHERE state = 'queued' AND priority = :lane AND run_at <= now() AND (run_at, id) > (:after_time, :after_id)
ORDER BY run_at, id
LIMIT :most
