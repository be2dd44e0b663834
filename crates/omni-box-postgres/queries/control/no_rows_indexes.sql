drop index if exists {{schema}}.{{outbox_events_order}};
drop index if exists {{schema}}.{{outbox_events_keys}};
drop index if exists {{schema}}.{{outbox_events_claimed}};
