-- How attempts ended: the log, the delivery if it is still its sender's, and what it means for the endpoint.
-- 410 disables the endpoint at once; so do 20 failures over 5 days without a success. Returns what was written, and the
-- endpoints that were disabled by it.
WITH ended AS (
    SELECT * FROM :rows AS attempt
), tally AS (
    SELECT
        endpoint_id, tenant_id, count(*) FILTER (WHERE state <> 'delivered') AS failed,
        bool_or(state = 'delivered') AS succeeded, bool_or(status = 410) AS gone, max(pause) AS pause
    FROM ended
    WHERE endpoint_id IS NOT NULL AND trigger <> 'test'
    GROUP BY endpoint_id, tenant_id
), held AS (
    -- In id order, so that two groups can't deadlock; and only those that this changes.
    SELECT endpoint.id, endpoint.tenant_id, endpoint.enabled AS was_enabled
    FROM webhook_endpoints AS endpoint
    JOIN tally ON tally.endpoint_id = endpoint.id AND tally.tenant_id = endpoint.tenant_id
    WHERE tally.failed > 0 OR endpoint.failures > 0 OR tally.pause IS NOT NULL
    ORDER BY endpoint.id
    FOR NO KEY UPDATE OF endpoint
), judged AS (
    SELECT
        held.*, tally.pause, tally.succeeded, tally.failed,
        CASE
            WHEN tally.gone THEN 'gone'
            WHEN NOT tally.succeeded AND endpoint.failures + tally.failed >= :disabling_failures
                AND endpoint.failing_since < now() - make_interval(secs => :disabling_seconds) THEN 'failing'
        END AS verdict
    FROM held
    JOIN webhook_endpoints AS endpoint USING (id, tenant_id)
    JOIN tally ON tally.endpoint_id = held.id AND tally.tenant_id = held.tenant_id
), changed AS (
    UPDATE webhook_endpoints AS endpoint
    SET failures = CASE WHEN judged.succeeded THEN 0 ELSE endpoint.failures + judged.failed END,
        failing_since = CASE WHEN NOT judged.succeeded THEN coalesce(endpoint.failing_since, now()) END,
        send_after = greatest(endpoint.send_after, now() + make_interval(secs => judged.pause)),
        enabled = endpoint.enabled AND judged.verdict IS NULL,
        disabled_reason = CASE WHEN endpoint.enabled THEN judged.verdict ELSE endpoint.disabled_reason END,
        disabled_at = CASE
            WHEN endpoint.enabled AND judged.verdict IS NOT NULL THEN now() ELSE endpoint.disabled_at
        END,
        updated_at = CASE WHEN endpoint.enabled AND judged.verdict IS NOT NULL THEN now() ELSE endpoint.updated_at END,
        unsettled_at = CASE
            WHEN endpoint.enabled AND judged.verdict IS NOT NULL THEN now() ELSE endpoint.unsettled_at
        END
    FROM judged
    WHERE endpoint.id = judged.id AND endpoint.tenant_id = judged.tenant_id
    RETURNING endpoint.id, endpoint.tenant_id, endpoint.disabled_reason, endpoint.failures,
        judged.was_enabled AND NOT endpoint.enabled AS disabled_now
), written AS (
    UPDATE deliveries AS delivery
    SET state = ended.state,
        delivered_at = CASE WHEN ended.state = 'delivered' THEN now() END,
        next_attempt_at = CASE
            WHEN ended.delay IS NULL THEN delivery.next_attempt_at ELSE now() + make_interval(secs => ended.delay)
        END,
        trigger = CASE WHEN delivery.trigger = 'test' THEN 'test' ELSE 'scheduled' END,
        lease_token = NULL,
        lease_expires_at = NULL,
        last_status = ended.status,
        last_error = ended.error
    FROM ended
    WHERE delivery.id = ended.id AND delivery.tenant_id = ended.tenant_id
        AND delivery.state = 'pending'
        -- guard: delivery-lease-token
        AND delivery.lease_token = ended.lease_token
    RETURNING delivery.id, delivery.tenant_id, delivery.host, delivery.target, delivery.next_attempt_at, delivery.state
), logged AS (
    -- Also an attempt whose lease was lost: it did go out.
    INSERT INTO delivery_attempts (
        delivery_id, tenant_id, attempt, trigger, started_at, status, error, dns_ms, connect_ms, tls_ms, first_byte_ms,
        total_ms, retry_after, excerpt, next_attempt_at, worker_id
    )
    SELECT
        ended.id, ended.tenant_id, ended.attempt, ended.trigger, ended.started_at, ended.status, ended.error,
        ended.dns_ms, ended.connect_ms, ended.tls_ms, ended.first_byte_ms, ended.total_ms, ended.retry_after,
        ended.excerpt, CASE WHEN written.state = 'pending' THEN written.next_attempt_at END, :worker_id
    FROM ended
    JOIN deliveries AS delivery ON delivery.id = ended.id AND delivery.tenant_id = ended.tenant_id
    LEFT JOIN written ON written.id = ended.id
    -- A commit whose reply was lost is written again.
    ON CONFLICT DO NOTHING
)
SELECT id, tenant_id, host, target, NULL AS reason, NULL::int AS failures FROM written
UNION ALL
SELECT id, tenant_id, NULL, NULL, disabled_reason, failures FROM changed WHERE disabled_now
