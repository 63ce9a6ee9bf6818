-- Takes or renews the turn of a step of the sweep; no row: another worker has it.
INSERT INTO sweep_turns AS turn (name, worker_id, expires_at)
VALUES (:name, :worker_id, now() + make_interval(secs => :seconds))
ON CONFLICT (name) DO UPDATE SET worker_id = excluded.worker_id, expires_at = excluded.expires_at
    WHERE turn.worker_id = excluded.worker_id OR turn.expires_at < now()
RETURNING true
