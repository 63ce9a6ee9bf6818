-- What an answer cost that came after its run was given up. The job itself is not touched.
UPDATE attempts
SET usage = $4::jsonb, billed = 'yes', provider_request_id = $5
WHERE job_id = $1 AND tenant_id = $2 AND run_no = $3
    AND outcome IN ('unknown', 'cancelled', 'expired') AND usage IS NULL
