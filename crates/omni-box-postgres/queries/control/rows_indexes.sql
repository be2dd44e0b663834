-- What the mode `rows` reads by; the mode `lanes` does not pay for them. What waits for a time is apart from what is due, what is claimed
-- from what is free: so that no search steps over it.
create index if not exists {{outbox_events_order}} on {{outbox_events}} (seq)
    where status = 'pending' and locked_at is null and not head and (held or not deferred) and partition_key is not null;
-- each event without a key is a key of its own
create index if not exists {{outbox_events_keyless}} on {{outbox_events}} (seq)
    where status = 'pending' and locked_at is null and not head and (held or not deferred) and partition_key is null;
create index if not exists {{outbox_events_waiting}} on {{outbox_events}} (head, (case when head then hold_until else scheduled_at end))
    where status = 'pending' and locked_at is null and (head or deferred and not held and partition_key is not null);
create index if not exists {{outbox_events_later}} on {{outbox_events}} (scheduled_at)
    where status = 'pending' and locked_at is null and not head and deferred and not held and partition_key is null;
-- what is in line, by key
create index if not exists {{outbox_events_keys}} on {{outbox_events}} (topic, partition_key, seq)
    where status = 'pending' and (held or not deferred or last_error is not null) and partition_key is not null;
-- what is in line from its time on, in the order of these times
create index if not exists {{outbox_events_scheduled}} on {{outbox_events}} (topic, partition_key, scheduled_at, seq)
    where status = 'pending' and deferred and not held and last_error is null and partition_key is not null;
create index if not exists {{outbox_events_claimed}} on {{outbox_events}} (topic, partition_key, locked_at)
    where status = 'pending' and locked_at is not null;
