-- What the mode `rows` reads by; the mode `lanes` does not pay for them. What waits for a time is apart from what is due, what is claimed
-- from what is free: so that no search steps over it. `seq` is the row's own number, and so at the end of every index. A column that has one value
-- comes before it, since SQLite walks along the table else, where most is completed.
create index if not exists {{outbox_events_order}} on {{outbox_events}} (head)
    where status = 'pending' and locked_at is null and head = 0 and (held = 1 or deferred = 0) and partition_key is not null;
-- each event without a key is a key of its own
create index if not exists {{outbox_events_keyless}} on {{outbox_events}} (head)
    where status = 'pending' and locked_at is null and head = 0 and (held = 1 or deferred = 0) and partition_key is null;
create index if not exists {{outbox_events_again}} on {{outbox_events}} (hold_until)
    where status = 'pending' and locked_at is null and head = 1;
create index if not exists {{outbox_events_waiting}} on {{outbox_events}} (scheduled_at)
    where status = 'pending' and locked_at is null and head = 0 and deferred = 1 and held = 0 and partition_key is not null;
create index if not exists {{outbox_events_later}} on {{outbox_events}} (scheduled_at)
    where status = 'pending' and locked_at is null and head = 0 and deferred = 1 and held = 0 and partition_key is null;
-- what is in line, by key
create index if not exists {{outbox_events_keys}} on {{outbox_events}} (topic, partition_key)
    where status = 'pending' and (held = 1 or deferred = 0 or last_error is not null) and partition_key is not null;
-- what is in line from its time on, in the order of these times
create index if not exists {{outbox_events_scheduled}} on {{outbox_events}} (topic, partition_key, scheduled_at)
    where status = 'pending' and deferred = 1 and held = 0 and last_error is null and partition_key is not null;
create index if not exists {{outbox_events_claimed}} on {{outbox_events}} (topic, partition_key, locked_at)
    where status = 'pending' and locked_at is not null;
