-- A worker that stops leaves its turns to the others.
DELETE FROM sweep_turns WHERE worker_id = $1
