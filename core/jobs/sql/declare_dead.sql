-- Declares dead the workers whose lease has expired. The worker that asks, :judge_id, must have renewed its own lease for
-- :lease_seconds without a gap of more than :gap_seconds. So after PostgreSQL stalled, or the clock jumped, every living
-- worker has the time to renew before any can be declared dead. After the clock went back by more than :lease_seconds, a
-- worker that has not renewed since is known by a renewal in the future.
-- A locked row is skipped: it is not known whether its worker lives.
WITH silent AS (
    SELECT id, renewed_at
    FROM workers
    WHERE dead_at IS NULL AND id <> :judge_id
        AND (
            -- guard: judge-expired-lease
            lease_expires_at < now()
            OR renewed_at > now() + make_interval(secs => :lease_seconds)
        )
        AND EXISTS (
            SELECT FROM workers AS judge
            WHERE judge.id = :judge_id AND judge.dead_at IS NULL
                -- guard: judge-is-steady
                AND judge.steady_since <= now() - make_interval(secs => :lease_seconds)
                -- guard: judge-renewed-just-now
                AND judge.renewed_at BETWEEN now() - make_interval(secs => :gap_seconds) AND now()
        )
    FOR UPDATE SKIP LOCKED
)
UPDATE workers AS worker
SET dead_at = now(),
    lost_alone = NOT EXISTS (
        SELECT FROM workers AS witness
        WHERE witness.dead_at IS NULL AND witness.lease_expires_at > now() AND witness.steady_since <= silent.renewed_at
    )
FROM silent
WHERE worker.id = silent.id
RETURNING worker.id, worker.lost_alone
