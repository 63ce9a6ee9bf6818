-- The cost of an answer that came after its run was given up. The job itself is not touched.
UPDATE attempts
SET usage = :usage::jsonb, billed = 'yes', provider_request_id = :provider_request_id
WHERE job_id = :job_id AND tenant_id = :tenant_id AND run_no = :run_no
    AND outcome IN ('unknown', 'cancelled', 'expired') AND usage IS NULL
