-- Marks a worker as stopped: jobs that still name it can be rescued at once, and don't count as lost.
UPDATE workers SET dead_at = now(), lost_alone = true WHERE id = :worker_id AND dead_at IS NULL
