-- One delivery that a caller asked for, to see how the endpoint responds.
INSERT INTO deliveries (id, tenant_id, endpoint_id, event_id, event_type, url, body, trigger)
VALUES (
    :id, :tenant_id, :endpoint_id, :event_id, :event_type, :url,
    inferd_event(:event_id, :event_type, :data::json), 'test'
)
