-- Releases the turns of a worker that stops, so that others need not wait for their end.
DELETE FROM sweep_turns WHERE worker_id = :worker_id
