-- Which of these changes could still be made: their rows were locked when the statement ran.
SELECT input.id
FROM :rows AS input
JOIN jobs AS job USING (id, tenant_id)
WHERE job.state = ANY (string_to_array(input.from_states, ' '))
    AND (input.run_no IS NULL OR job.run_no = input.run_no)
    AND (input.lease_token IS NULL OR job.lease_token = input.lease_token)
