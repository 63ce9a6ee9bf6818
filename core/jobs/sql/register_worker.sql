-- A new worker, alive for :lease_seconds.
INSERT INTO workers (id, slots, version, lease_expires_at)
VALUES (:worker_id, :slots, :version, now() + make_interval(secs => :lease_seconds))
