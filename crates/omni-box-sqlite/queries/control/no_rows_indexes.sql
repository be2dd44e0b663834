drop index if exists {{outbox_events_order}};
drop index if exists {{outbox_events_keyless}};
drop index if exists {{outbox_events_again}};
drop index if exists {{outbox_events_waiting}};
drop index if exists {{outbox_events_later}};
drop index if exists {{outbox_events_keys}};
drop index if exists {{outbox_events_scheduled}};
drop index if exists {{outbox_events_claimed}};
