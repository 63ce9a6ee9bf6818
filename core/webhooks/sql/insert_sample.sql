-- One delivery that a caller asked for, to see what the endpoint answers.
INSERT INTO deliveries (id, tenant_id, endpoint_id, event_id, event_type, url, body, trigger)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'test')
