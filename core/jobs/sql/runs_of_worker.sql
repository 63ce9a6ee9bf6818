-- The runs that PostgreSQL believes a worker to have; of :job_ids only, unless that is NULL.
SELECT id, run_no FROM jobs
WHERE worker_id = :worker_id AND state = 'running' AND (:job_ids::uuid[] IS NULL OR id = ANY (:job_ids))
