-- Deliveries that are due and in nobody's hands; goes on behind ($2, $3). Read-only: Redis is asked next.
SELECT id, next_attempt_at AS due_at
FROM deliveries
WHERE state = 'pending' AND next_attempt_at <= now() AND (next_attempt_at, id) > ($2, $3)
    AND (lease_expires_at IS NULL OR lease_expires_at < now())
ORDER BY next_attempt_at, id
LIMIT $1
