-- The runs that PostgreSQL believes a worker to have; of the jobs $2 only, where they are named.
SELECT id, run_no FROM jobs
WHERE worker_id = $1 AND state = 'running' AND ($2::uuid[] IS NULL OR id = ANY ($2))
