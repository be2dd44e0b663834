-- Tables of omni-box. Names in double braces are replaced by the configured, quoted names.
-- A column that a foreign writer does not name has a default, is generated, or may be null.

-- No fillfactor: `status` and `held` are in the predicates of the partial indexes, so no update of a row can be heap-only, and room
-- reserved in a page would only make the table larger. Every event dies once (pending -> completed), so vacuum works by a
-- count of rows rather than by a share of a table that keeps a history of completed rows.
create table {{outbox_events}} (
    id uuid not null default gen_random_uuid(),
    event_type varchar(100) not null,
    aggregate_type varchar(50),
    aggregate_id uuid,
    topic varchar(255) not null,
    partition_key varchar(255),
    payload json not null,
    headers jsonb default '{}',
    trace_id varchar(64),
    correlation_id varchar(64),
    causation_id varchar(64),
    idempotency_key varchar(128),
    schema_version varchar(50),
    status varchar(20) not null default 'pending',
    attempts_made integer not null default 0,
    max_attempts integer not null default 6,
    last_error varchar(2000),
    scheduled_at timestamptz not null default now(),
    completed_at timestamptz,
    locked_at timestamptz,
    locked_by varchar(255),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- the order of the table
    seq bigint not null generated always as identity (cache 1),
    -- the unit of lease and fetch; an event without a key is spread by its id
    lane smallint not null generated always as (
        ((hashtextextended(topic || chr(31) || coalesce(partition_key, id::text), 0) & 9223372036854775807) % 16)::smallint
    ) stored,
    -- only these are ever compared with a clock, so that writers whose clocks differ cannot break order
    deferred boolean not null generated always as (scheduled_at - created_at > interval '1 second') stored,
    -- waits: as the head of its key (`head`), or behind it
    held boolean not null default false,
    head boolean not null default false,
    -- when a head is tried again; null: when an operator says so
    hold_until timestamptz,
    constraint {{outbox_events_pkey}} primary key (id),
    constraint {{outbox_events_status_check}} check (status in ('pending', 'completed', 'failed'))
) with (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000
);

create unique index {{outbox_events_idempotency}} on {{outbox_events}} (idempotency_key) where idempotency_key is not null;
-- what is due now, in order: the fetch of a lane
create index {{outbox_events_hot}} on {{outbox_events}} (lane, seq)
    where status = 'pending' and not held and not deferred;
-- what was scheduled for later
create index {{outbox_events_due}} on {{outbox_events}} (lane, scheduled_at)
    where status = 'pending' and deferred and not held;
-- heads of held keys, by the time of their retry and by key
create index {{outbox_events_retry}} on {{outbox_events}} (lane, hold_until)
    where status = 'pending' and held and head;
create index {{outbox_events_heads}} on {{outbox_events}} (lane, topic, partition_key)
    where status = 'pending' and held and head;
-- what waits behind them
create index {{outbox_events_followers}} on {{outbox_events}} (lane, topic, partition_key, seq)
    where status = 'pending' and held and not head;
-- what may be cleaned up; completions come in the order of time, so that each goes to the index's end
create index {{outbox_events_completed}} on {{outbox_events}} (completed_at) where status = 'completed';
-- what was given up: found and counted by operators and samples
create index {{outbox_events_failed}} on {{outbox_events}} (updated_at) where status = 'failed';

create table {{inbox_events}} (
    id uuid not null default gen_random_uuid(),
    message_id varchar(255) not null,
    consumer_group varchar(255) not null,
    event_type varchar(100) not null,
    source varchar(255) not null,
    payload json not null,
    headers jsonb default '{}',
    trace_id varchar(64),
    correlation_id varchar(64),
    causation_id varchar(64),
    idempotency_key varchar(128),
    schema_version varchar(50),
    status varchar(20) not null default 'pending',
    attempts_made integer not null default 0,
    max_attempts integer not null default 6,
    last_error varchar(2000),
    scheduled_at timestamptz not null default now(),
    completed_at timestamptz,
    locked_at timestamptz,
    locked_by varchar(255),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    partition_key varchar(255),
    source_topic varchar(255),
    source_partition integer,
    source_offset bigint,
    produced_at timestamptz,
    digest bytea,
    -- the message's key, where it is no text or too long for partition_key
    raw_key bytea,
    constraint {{inbox_events_pkey}} primary key (id),
    constraint {{inbox_events_message}} unique (message_id, consumer_group),
    constraint {{inbox_events_status_check}} check (status in ('pending', 'completed', 'failed'))
) with (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000
);

-- what was stored first and waits to be handled, by partition
create index {{inbox_events_pending}} on {{inbox_events}} (consumer_group, source_topic, source_partition, source_offset)
    where status = 'pending';
-- what may be cleaned up
create index {{inbox_events_completed}} on {{inbox_events}} (completed_at) where status = 'completed';
-- what was given up: found and counted by operators and samples
create index {{inbox_events_failed}} on {{inbox_events}} (consumer_group, updated_at) where status = 'failed';

-- Sixteen rows, updated at every heartbeat: room in the page keeps those updates heap-only, and the table small.
create table {{outbox_lanes}} (
    lane smallint not null,
    owner uuid,
    worker text,
    epoch bigint not null default 0,
    leased_until timestamptz,
    idle boolean not null default false,
    constraint {{outbox_lanes_pkey}} primary key (lane)
) with (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
insert into {{outbox_lanes}} (lane) select generate_series(0, 15);

create table {{outbox_relays}} (
    owner uuid not null,
    worker text not null,
    alive_until timestamptz not null,
    constraint {{outbox_relays_pkey}} primary key (owner)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

create table {{inbox_partitions}} (
    consumer_group varchar(255) not null,
    topic varchar(255) not null,
    partition integer not null,
    worker text not null,
    attached_at timestamptz not null default now(),
    clean boolean not null,
    constraint {{inbox_partitions_pkey}} primary key (consumer_group, topic, partition)
);

-- Messages kept as raw bytes. Headers are a list of [name, base64 or null].
create table {{inbox_quarantine}} (
    id uuid not null default gen_random_uuid(),
    consumer_group varchar(255) not null,
    topic varchar(255) not null,
    partition integer not null,
    "offset" bigint not null,
    key bytea,
    headers jsonb not null default '[]',
    value bytea,
    produced_at timestamptz,
    error text not null,
    created_at timestamptz not null default now(),
    -- SHA-256 of key, headers, value and time: a topic that was made again has other messages at the same offsets
    fingerprint bytea not null default '',
    constraint {{inbox_quarantine_pkey}} primary key (id),
    constraint {{inbox_quarantine_position}} unique (consumer_group, topic, partition, "offset", fingerprint)
);

create table {{omni_box_control}} (
    singleton boolean not null default true,
    installation uuid not null default gen_random_uuid(),
    schema_version integer not null,
    lanes smallint not null default 16,
    delivery_mode text not null default 'lanes',
    constraint {{omni_box_control_pkey}} primary key (singleton),
    constraint {{omni_box_control_singleton_check}} check (singleton),
    constraint {{omni_box_control_mode_check}} check (delivery_mode in ('lanes', 'rows', 'fenced'))
);
insert into {{omni_box_control}} (schema_version) values (1);
