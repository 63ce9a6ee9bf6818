-- Renews a worker's lease for :lease_seconds. No row: it was declared dead, and stays so.
-- A gap of more than :gap_seconds since the last renewal begins a new series: PostgreSQL may have stalled for all workers.
-- So does a last renewal in the future: the clock went back.
UPDATE workers
SET steady_since = CASE
        WHEN renewed_at BETWEEN now() - make_interval(secs => :gap_seconds) AND now() THEN steady_since ELSE now()
    END,
    renewed_at = now(),
    lease_expires_at = now() + make_interval(secs => :lease_seconds),
    slots = :slots
WHERE id = :worker_id
    -- guard: renew-not-dead
    AND dead_at IS NULL
RETURNING id
