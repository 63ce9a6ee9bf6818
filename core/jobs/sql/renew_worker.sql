-- Renews a worker's lease for $2 seconds. No row: it was declared dead, and stays so.
-- A gap of more than $3 seconds since the last renewal begins a new series: PostgreSQL may have stalled for all workers.
-- So does a last renewal in the future: the clock went back.
UPDATE workers
SET steady_since = CASE
        WHEN renewed_at BETWEEN now() - make_interval(secs => $3) AND now() THEN steady_since ELSE now()
    END,
    renewed_at = now(),
    lease_expires_at = now() + make_interval(secs => $2),
    slots = $4
WHERE id = $1
    -- guard: renew-not-dead
    AND dead_at IS NULL
RETURNING id
