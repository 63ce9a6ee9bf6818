-- Deletes workers that died a day ago and have no job any more.
WITH old AS (
    SELECT id FROM workers
    WHERE dead_at < now() - make_interval(secs => :seconds)
        AND NOT EXISTS (SELECT FROM jobs WHERE jobs.worker_id = workers.id AND jobs.state = 'running')
    LIMIT :most
    FOR UPDATE SKIP LOCKED
)
DELETE FROM workers USING old WHERE workers.id = old.id
RETURNING workers.id
