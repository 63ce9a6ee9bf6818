-- Queued jobs of one lane that are due, by when they became so; goes on behind ($3, $4). Read-only: Redis is asked next.
SELECT id, tenant_id, run_at AS due_at
FROM jobs
WHERE state = 'queued' AND priority = $1 AND run_at <= now() AND (run_at, id) > ($3, $4)
ORDER BY run_at, id
LIMIT $2
