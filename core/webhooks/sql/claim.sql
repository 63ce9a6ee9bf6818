-- Leases due deliveries, with what signing them needs. A lease that ran out is taken over: its sender died.
-- Where a delivery goes, and whether at all, is the endpoint's to say as it is now: nothing is sent for one that is
-- disabled or gone, and what was made for an older URL goes to the present one.
-- How many are in flight is counted here, over all workers: to a target (:per_target), to a host (:per_host), and of this
-- worker's to hosts that it found dead (:suspects: one each, :suspect_room in all) and of one tenant (:per_tenant, with
-- those that it is sending now in :rows). Claims are one at a time (store.claim), so the counts are exact.
WITH wanted AS (
    SELECT id, tenant_id, endpoint_id, host, target, trigger, next_attempt_at
    FROM deliveries
    WHERE id = ANY (:delivery_ids::uuid[]) AND state = 'pending'
        -- guard: delivery-lease
        AND (lease_token IS NULL OR lease_expires_at < now())
    FOR UPDATE SKIP LOCKED
), receiver AS (
    SELECT
        id, tenant_id, enabled, url, inferd_url_host(url) AS host,
        -- Bounded: a rate of nearly nothing, which earlier releases took, is a time that PostgreSQL has no number for,
        -- and the whole claim would fail, with everybody's deliveries in it.
        CASE WHEN max_per_second IS NOT NULL THEN greatest(max_per_second, 0.001) END AS max_per_second,
        least(greatest(send_after, now()), now() + interval '1 day') AS clear_at, secret, include_result
    FROM webhook_endpoints
    WHERE (id, tenant_id) IN (SELECT endpoint_id, tenant_id FROM wanted)
), paced AS (
    -- Whoever holds one of these rows holds up its deliveries alone.
    SELECT id, tenant_id, greatest(max_per_second, 0.001) AS max_per_second FROM webhook_endpoints
    WHERE max_per_second IS NOT NULL AND (id, tenant_id) IN (SELECT endpoint_id, tenant_id FROM wanted)
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
), judged AS (
    SELECT
        wanted.*, receiver.max_per_second, receiver.url AS present_url, coalesce(receiver.clear_at, now()) AS clear_at,
        wanted.host IN (SELECT unnest(:suspects::text[])) AS suspect,
        CASE
            WHEN wanted.endpoint_id IS NULL THEN 'send'
            WHEN receiver.id IS NULL OR (NOT receiver.enabled AND wanted.trigger <> 'test') THEN 'skip'
            WHEN receiver.host <> wanted.host THEN 'move'
            WHEN receiver.max_per_second IS NOT NULL AND paced.id IS NULL THEN 'wait'
            ELSE 'send'
        END AS verdict
    FROM wanted
    LEFT JOIN receiver ON receiver.id = wanted.endpoint_id AND receiver.tenant_id = wanted.tenant_id
    LEFT JOIN paced ON paced.id = wanted.endpoint_id AND paced.tenant_id = wanted.tenant_id
), due AS (
    SELECT
        judged.*,
        row_number() OVER (
            PARTITION BY host, target ORDER BY next_attempt_at, id
        ) AS place
    FROM judged
    WHERE next_attempt_at <= now() AND verdict = 'send'
), busy AS (
    SELECT host, target, count(*) AS sending
    FROM deliveries
    WHERE lease_token IS NOT NULL AND lease_expires_at >= now() AND host IN (SELECT host FROM wanted)
    GROUP BY host, target
), fitting AS (
    SELECT
        due.*,
        row_number() OVER (PARTITION BY due.host ORDER BY due.place, due.next_attempt_at) AS host_place,
        row_number() OVER (PARTITION BY due.suspect ORDER BY due.place, due.next_attempt_at) AS suspect_place
    FROM due LEFT JOIN busy USING (host, target)
    WHERE (
        due.trigger = 'test'
        OR due.place + coalesce(busy.sending, 0) <= CASE WHEN due.suspect THEN 1 ELSE :per_target END
    ) AND due.clear_at + make_interval(secs => coalesce((due.place - 1) / due.max_per_second, 0))
        <= now() + interval '0.1 s'
), welcome AS (
    SELECT
        fitting.*,
        row_number() OVER (PARTITION BY fitting.tenant_id ORDER BY fitting.place, fitting.next_attempt_at)
            AS tenant_place
    FROM fitting LEFT JOIN (SELECT host, sum(sending) AS sending FROM busy GROUP BY host) AS of_host USING (host)
    WHERE fitting.host_place + coalesce(of_host.sending, 0) <= :per_host AND (NOT fitting.suspect OR fitting.suspect_place <= :suspect_room)
), admitted AS (
    SELECT welcome.*
    FROM welcome LEFT JOIN :rows AS here USING (tenant_id)
    WHERE welcome.tenant_place + coalesce(here.sending, 0) <= :per_tenant
), claimed AS (
    UPDATE deliveries AS delivery
    SET lease_token = gen_random_uuid(),
        lease_expires_at = now() + make_interval(secs => :lease_seconds),
        attempts = delivery.attempts + 1,
        slots_used = delivery.slots_used + (delivery.trigger = 'scheduled')::int,
        url = coalesce(admitted.present_url, delivery.url)
    FROM admitted
    WHERE delivery.id = admitted.id AND delivery.tenant_id = admitted.tenant_id
    RETURNING delivery.*
), skipped AS (
    UPDATE deliveries AS delivery
    SET state = 'skipped', lease_token = NULL, lease_expires_at = NULL
    FROM judged
    WHERE delivery.id = judged.id AND delivery.tenant_id = judged.tenant_id AND judged.verdict = 'skip'
), moved AS (
    UPDATE deliveries AS delivery
    SET url = judged.present_url
    FROM judged
    WHERE delivery.id = judged.id AND delivery.tenant_id = judged.tenant_id AND judged.verdict = 'move'
), advanced AS (
    UPDATE webhook_endpoints AS endpoint
    SET send_after = least(greatest(endpoint.send_after, now()), now() + interval '1 day')
        + make_interval(secs => sent.count / paced.max_per_second)
    FROM paced JOIN (
        SELECT endpoint_id, tenant_id, count(*) FROM admitted GROUP BY endpoint_id, tenant_id
    ) AS sent ON sent.endpoint_id = paced.id AND sent.tenant_id = paced.tenant_id
    WHERE endpoint.id = paced.id AND endpoint.tenant_id = paced.tenant_id
)
SELECT
    judged.id, judged.target, judged.trigger, judged.verdict, due.id IS NOT NULL AS is_due,
    extract(epoch FROM judged.next_attempt_at - now())::float8 AS seconds_until_due,
    extract(epoch FROM due.clear_at - now())::float8
        + coalesce((SELECT count(*) FROM admitted WHERE admitted.target = judged.target) / due.max_per_second, 0)
        AS seconds_until_clear,
    claimed.tenant_id, claimed.lease_token, claimed.event_id, claimed.event_type, claimed.url, claimed.host,
    claimed.body, claimed.attempts, claimed.slots_used, claimed.endpoint_id, claimed.job_id,
    -- Never the tenant's for what was made for an endpoint: that secret is for the URLs of jobs.
    CASE WHEN claimed.endpoint_id IS NULL THEN tenant.webhook_secret ELSE receiver.secret END AS secret,
    array(
        SELECT retired.secret FROM retired_webhook_secrets AS retired
        WHERE retired.endpoint_id = claimed.endpoint_id AND retired.tenant_id = claimed.tenant_id
            AND retired.expires_at > now()
        ORDER BY retired.expires_at DESC
    ) AS retired_secrets,
    coalesce(
        receiver.include_result AND claimed.job_id IS NOT NULL
        AND claimed.event_type IN ('job.succeeded', 'response.completed', 'response.incomplete'),
        false
    ) AS includes_result,
    result.job_id IS NULL AS result_is_gone,
    CASE WHEN octet_length(result.output) <= 131072 THEN result.output END AS output
FROM judged
LEFT JOIN due USING (id)
LEFT JOIN claimed USING (id)
LEFT JOIN receiver ON receiver.id = judged.endpoint_id AND receiver.tenant_id = judged.tenant_id
LEFT JOIN tenants AS tenant ON tenant.id = claimed.tenant_id
LEFT JOIN results AS result
    ON receiver.include_result AND claimed.event_type IN ('job.succeeded', 'response.completed', 'response.incomplete')
    AND result.job_id = claimed.job_id AND result.tenant_id = claimed.tenant_id
