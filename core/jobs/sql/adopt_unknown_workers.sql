-- Running jobs that name a worker which has no row (restored without it): it is dead, and nobody knows how it died.
WITH RECURSIVE named AS (
    -- From one worker to the next by the index, however many jobs each has.
    (
        SELECT worker_id FROM jobs
        WHERE state = 'running' AND worker_id IS NOT NULL
        ORDER BY worker_id
        LIMIT 1
    )
    UNION ALL
    SELECT next.worker_id
    FROM named CROSS JOIN LATERAL (
        SELECT worker_id FROM jobs
        WHERE state = 'running' AND worker_id > named.worker_id
        ORDER BY worker_id
        LIMIT 1
    ) AS next
)
INSERT INTO workers (id, lease_expires_at, dead_at, lost_alone)
SELECT named.worker_id, now(), now(), true
FROM named
WHERE NOT EXISTS (SELECT FROM workers WHERE workers.id = named.worker_id)
    -- One of the previous release has no row either, and a lease for each of its jobs.
    AND (
        SELECT true FROM jobs
        WHERE jobs.worker_id = named.worker_id AND jobs.state = 'running' AND jobs.lease_expires_at IS NULL
        LIMIT 1
    )
ON CONFLICT DO NOTHING
