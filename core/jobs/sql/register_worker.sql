-- A new worker, alive for $4 seconds.
INSERT INTO workers (id, slots, version, lease_expires_at)
VALUES ($1, $2, $3, now() + make_interval(secs => $4))
