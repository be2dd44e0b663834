drop index if exists {{outbox_events_order}};
drop index if exists {{outbox_events_keys}};
drop index if exists {{outbox_events_claimed}};
