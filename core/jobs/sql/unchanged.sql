-- Which of these changes could still be made: their rows were locked when the statement ran.
SELECT input.id
FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::uuid[], $5::text[]) AS input (id, tenant_id, run_no, token, from_states)
JOIN jobs AS job USING (id, tenant_id)
WHERE job.state = ANY (string_to_array(input.from_states, ' '))
    AND (input.run_no IS NULL OR job.run_no = input.run_no)
    AND (input.token IS NULL OR job.lease_token = input.token)
