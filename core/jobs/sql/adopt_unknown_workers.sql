-- Running jobs that name a worker which has no row (restored without it): it is taken for dead, for an unknown reason.
INSERT INTO workers (id, lease_expires_at, dead_at, lost_alone)
SELECT DISTINCT job.worker_id, now(), now(), true
FROM jobs AS job
WHERE job.state = 'running' AND job.worker_id IS NOT NULL AND job.lease_expires_at IS NULL
    AND NOT EXISTS (SELECT FROM workers WHERE workers.id = job.worker_id)
ON CONFLICT DO NOTHING
