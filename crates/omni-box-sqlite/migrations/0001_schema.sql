-- Tables of omni-box. Names in double braces are replaced by the configured, quoted names.
-- A column that a foreign writer does not name has a default, is generated, or may be null.
--
-- Identifiers are lower-case UUIDs as text: what a log line shows can be pasted into a query. Times are integers, microseconds since
-- 1970 in UTC: comparing and adding them is exact, and an index on them is small; a person reads them by
-- `datetime(created_at / 1000000, 'unixepoch')`.

create table {{outbox_events}} (
    -- The order of the table. One writer at a time commits, so it is the order of commits too. Never reused, whatever is deleted.
    seq integer not null primary key autoincrement,
    id text not null default {{uuid}},
    event_type text not null,
    aggregate_type text,
    aggregate_id text,
    topic text not null,
    partition_key text,
    payload text not null,
    headers text default '{}',
    trace_id text,
    correlation_id text,
    causation_id text,
    idempotency_key text,
    schema_version text,
    status text not null default 'pending',
    attempts_made integer not null default 0,
    max_attempts integer not null default 6,
    last_error text,
    scheduled_at integer not null default {{machine_clock}},
    completed_at integer,
    locked_at integer,
    locked_by text,
    created_at integer not null default {{machine_clock}},
    updated_at integer not null default {{machine_clock}},
    -- The unit of lease and fetch; an event without a key is spread by its id. SQLite has no hash function, and a lane computed by
    -- the program would be wrong in rows of other writers: so it is made of the last characters, which differ from key to key.
    lane integer not null generated always as (
        (
            coalesce(unicode(substr(coalesce(partition_key, id), -1, 1)), 0)
            + coalesce(unicode(substr(coalesce(partition_key, id), -2, 1)), 0) * 3
            + coalesce(unicode(substr(coalesce(partition_key, id), -3, 1)), 0) * 5
            + coalesce(unicode(substr(coalesce(partition_key, id), -4, 1)), 0) * 7
            + coalesce(unicode(substr(coalesce(partition_key, id), -5, 1)), 0) * 11
            + coalesce(unicode(substr(coalesce(partition_key, id), -6, 1)), 0) * 13
            + coalesce(unicode(coalesce(partition_key, id)), 0)
            + length(coalesce(partition_key, id))
            + coalesce(unicode(substr(topic, -1, 1)), 0)
            + length(topic)
        ) % 16
    ) stored,
    -- only these are ever compared with a clock
    deferred integer not null generated always as (scheduled_at - created_at > 1000000) stored,
    -- waits: as the head of its key (`head`), or behind it
    held integer not null default 0,
    head integer not null default 0,
    -- when a head is tried again; null: when an operator says so
    hold_until integer,
    -- the `updated_at` of the failure that a storage outside has a copy of
    copied_at integer,
    constraint {{outbox_events_id_check}} check ({{is_uuid:id}}),
    constraint {{outbox_events_aggregate_id_check}} check (aggregate_id is null or {{is_uuid:aggregate_id}}),
    constraint {{outbox_events_payload_check}} check (json_valid(payload)),
    constraint {{outbox_events_status_check}} check (status in ('pending', 'completed', 'failed')),
    constraint {{outbox_events_held_check}} check (held in (0, 1) and head in (0, 1))
) strict;

create unique index {{outbox_events_id}} on {{outbox_events}} (id);
create unique index {{outbox_events_idempotency}} on {{outbox_events}} (idempotency_key) where idempotency_key is not null;
-- what is due now, in order: the fetch of a lane
create index {{outbox_events_hot}} on {{outbox_events}} (lane, seq)
    where status = 'pending' and held = 0 and deferred = 0;
-- what was scheduled for later
create index {{outbox_events_due}} on {{outbox_events}} (lane, scheduled_at)
    where status = 'pending' and held = 0 and deferred = 1;
-- heads of held keys, by the time of their retry, also of each topic, and by key
create index {{outbox_events_retry}} on {{outbox_events}} (lane, hold_until)
    where status = 'pending' and held = 1 and head = 1;
create index {{outbox_events_topics}} on {{outbox_events}} (lane, topic, hold_until)
    where status = 'pending' and held = 1 and head = 1;
create index {{outbox_events_heads}} on {{outbox_events}} (lane, topic, partition_key)
    where status = 'pending' and held = 1 and head = 1;
-- what waits behind them
create index {{outbox_events_followers}} on {{outbox_events}} (lane, topic, partition_key, seq)
    where status = 'pending' and held = 1 and head = 0;
-- what may be cleaned up
create index {{outbox_events_completed}} on {{outbox_events}} (completed_at) where status = 'completed';
-- what was given up: listed in the order in which that happened, and counted
create index {{outbox_events_failed}} on {{outbox_events}} (updated_at, id) where status = 'failed';
-- what was given up and has no copy outside
create index {{outbox_events_uncopied}} on {{outbox_events}} (updated_at, id)
    where status = 'failed' and copied_at is not updated_at;

create table {{inbox_events}} (
    id text not null default {{uuid}},
    message_id text not null,
    consumer_group text not null,
    event_type text not null,
    source text not null,
    payload text not null,
    headers text default '{}',
    trace_id text,
    correlation_id text,
    causation_id text,
    idempotency_key text,
    schema_version text,
    status text not null default 'pending',
    attempts_made integer not null default 0,
    max_attempts integer not null default 6,
    last_error text,
    scheduled_at integer not null default {{machine_clock}},
    completed_at integer,
    locked_at integer,
    locked_by text,
    created_at integer not null default {{machine_clock}},
    updated_at integer not null default {{machine_clock}},
    partition_key text,
    source_topic text,
    source_partition integer,
    source_offset integer,
    produced_at integer,
    digest blob,
    -- the message's key, where it is no text or too long for partition_key
    raw_key blob,
    -- the `updated_at` of the failure that a storage outside has a copy of
    copied_at integer,
    constraint {{inbox_events_id_check}} check ({{is_uuid:id}}),
    constraint {{inbox_events_payload_check}} check (json_valid(payload)),
    constraint {{inbox_events_status_check}} check (status in ('pending', 'completed', 'failed'))
) strict;

create unique index {{inbox_events_id}} on {{inbox_events}} (id);
create unique index {{inbox_events_message}} on {{inbox_events}} (message_id, consumer_group);
-- what was stored first and waits to be handled, by partition
create index {{inbox_events_pending}} on {{inbox_events}} (consumer_group, source_topic, source_partition, source_offset)
    where status = 'pending';
-- What workers of stored messages read by. A line is what is in order: the messages of one key within their group's partition, or those
-- without a key. What is due, oldest first:
create index {{inbox_events_ready}} on {{inbox_events}} (consumer_group, scheduled_at, id)
    where status = 'pending' and locked_at is null and source_offset is not null;
-- each without a place in a partition is a line of its own
create index {{inbox_events_keyless}} on {{inbox_events}} (consumer_group, scheduled_at, id)
    where status = 'pending' and locked_at is null and source_offset is null;
-- what is pending, by its line
create index {{inbox_events_lines}} on {{inbox_events}} (consumer_group, {{line}}, source_offset, id)
    where status = 'pending' and source_offset is not null;
-- what is claimed, by its line
create index {{inbox_events_claimed}} on {{inbox_events}} (consumer_group, {{line}}, locked_at)
    where status = 'pending' and locked_at is not null;
-- what may be cleaned up
create index {{inbox_events_completed}} on {{inbox_events}} (completed_at) where status = 'completed';
-- what was given up: found and counted by operators and samples
create index {{inbox_events_failed}} on {{inbox_events}} (consumer_group, updated_at, id) where status = 'failed';
-- the same in the order in which that happened: listed, and cleaned up
create index {{inbox_events_given_up}} on {{inbox_events}} (updated_at, id) where status = 'failed';
-- what was given up and has no copy outside
create index {{inbox_events_uncopied}} on {{inbox_events}} (updated_at, id)
    where status = 'failed' and copied_at is not updated_at;

create table {{outbox_lanes}} (
    lane integer not null primary key,
    owner text,
    worker text,
    epoch integer not null default 0,
    leased_until integer,
    idle integer not null default 0
) strict;
insert into {{outbox_lanes}} (lane)
values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15);

create table {{outbox_relays}} (
    owner text not null primary key,
    worker text not null,
    alive_until integer not null
) strict, without rowid;

create table {{inbox_partitions}} (
    consumer_group text not null,
    topic text not null,
    "partition" integer not null,
    worker text not null,
    attached_at integer not null default {{machine_clock}},
    clean integer not null,
    primary key (consumer_group, topic, "partition")
) strict, without rowid;

-- Who handles the messages of a group: runners as they come (direct), or workers from their rows (stored).
create table {{inbox_members}} (
    member text not null primary key,
    consumer_group text not null,
    handling text not null,
    alive_until integer not null
) strict, without rowid;

-- Messages kept as raw bytes. Headers are a list of [name, base64 or null].
create table {{inbox_quarantine}} (
    id text not null default {{uuid}},
    consumer_group text not null,
    topic text not null,
    "partition" integer not null,
    "offset" integer not null,
    "key" blob,
    headers text not null default '[]',
    value blob,
    produced_at integer,
    error text not null,
    created_at integer not null default {{machine_clock}},
    -- SHA-256 of key, headers, value and time: a topic that was made again has other messages at the same offsets
    fingerprint blob not null default x''
) strict;
create unique index {{inbox_quarantine_id}} on {{inbox_quarantine}} (id);
create unique index {{inbox_quarantine_position}}
    on {{inbox_quarantine}} (consumer_group, topic, "partition", "offset", fingerprint);
-- as they came: listed, and cleaned up
create index {{inbox_quarantine_order}} on {{inbox_quarantine}} (consumer_group, created_at, id);

create table {{omni_box_control}} (
    singleton integer not null primary key default 1,
    installation text not null default {{uuid}},
    schema_version integer not null,
    lanes integer not null default 16,
    delivery_mode text not null default 'lanes',
    -- how far omni-box's clock is ahead of the machine's; only tests change it
    clock_offset_ms integer not null default 0,
    constraint {{omni_box_control_singleton_check}} check (singleton = 1),
    constraint {{omni_box_control_mode_check}} check (delivery_mode in ('lanes', 'rows', 'fenced'))
) strict;
insert into {{omni_box_control}} (schema_version) values (1);

-- Circuit breakers that processes share: open until then, and whose trial it is after that.
create table {{omni_box_breakers}} (
    name text not null primary key,
    failures integer not null default 0,
    open_until integer,
    trial text,
    trial_until integer
) strict, without rowid;
