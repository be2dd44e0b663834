-- What the mode `rows` reads by; the mode `lanes` does not pay for them. `seq` is the row's own number, and so in every index.
create index if not exists {{outbox_events_order}} on {{outbox_events}} (seq) where status = 'pending';
create index if not exists {{outbox_events_keys}} on {{outbox_events}} (topic, partition_key) where status = 'pending';
create index if not exists {{outbox_events_claimed}} on {{outbox_events}} (topic, partition_key)
    where status = 'pending' and locked_at is not null;
