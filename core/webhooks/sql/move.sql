-- An endpoint's URL has changed: what was made for the old one goes to the new one.
UPDATE deliveries
SET url = $3
WHERE endpoint_id = $1 AND tenant_id = $2 AND state <> 'delivered' AND url <> $3
