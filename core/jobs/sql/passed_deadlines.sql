-- Jobs that must not go on.
SELECT id, tenant_id, state, version, model, run_no, priority
FROM jobs
WHERE state IN ('queued', 'running') AND deadline_at IS NOT NULL
    -- guard: expire-passed-only
    AND deadline_at <= now()
ORDER BY deadline_at
LIMIT :most
FOR UPDATE SKIP LOCKED
