-- Tables of omni-box. Names in double braces are replaced by the configured, quoted names.
-- A column that a foreign writer does not name has a default, is generated, or may be null.

-- Half of each page is left to new versions of its rows: a batch completes whole pages in one transaction, before anything in them can be
-- pruned. With room in the page, and as no index has a column whose value a completion changes, a completion writes no index (heap-only).
-- Every event dies once (pending -> completed), so vacuum works by a count of rows rather than by a share of a table that keeps a history
-- of completed rows.
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
    -- waited, and is due again: a reader that has passed its place finds it by this
    released boolean not null default false,
    -- the `updated_at` of the failure that a storage outside has a copy of
    copied_at timestamptz,
    -- what is set aside, and why. Null of what is in line by `seq`, and of what is completed: a completion leaves it as it is.
    aside varchar(8) generated always as (
        case
            when status = 'failed' then 'failed'
            when status <> 'pending' then null
            when held and head then 'head'
            when held then 'follower'
            when released then 'released'
            when scheduled_at - created_at > interval '1 second' then 'deferred'
        end
    ) stored,
    -- when it was given up
    failed_at timestamptz generated always as (case when status = 'failed' then updated_at end) stored,
    -- the same, while no storage outside has a copy
    uncopied_at timestamptz generated always as (
        case when status = 'failed' and copied_at is distinct from updated_at then updated_at end
    ) stored,
    constraint {{outbox_events_pkey}} primary key (id),
    constraint {{outbox_events_status_check}} check (status in ('pending', 'completed', 'failed'))
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000
);

create unique index {{outbox_events_idempotency}} on {{outbox_events}} (idempotency_key) where idempotency_key is not null;
-- None of these indexes mentions `status`, `completed_at` or `updated_at`, so that completions are heap-only.
-- What is due now, in order: the fetch of a lane. What is completed stays in it; readers begin above `read_to` of the lane.
create index {{outbox_events_hot}} on {{outbox_events}} (lane, seq) where aside is null;
-- what has waited and is due again, wherever the readers of its lane are
create index {{outbox_events_released}} on {{outbox_events}} (lane, seq) where aside = 'released';
-- what was scheduled for later
create index {{outbox_events_due}} on {{outbox_events}} (lane, scheduled_at) where aside = 'deferred';
-- heads of held keys, by the time of their retry, also of each topic, and by key
create index {{outbox_events_retry}} on {{outbox_events}} (lane, hold_until) where aside = 'head';
create index {{outbox_events_topics}} on {{outbox_events}} (lane, topic, hold_until) where aside = 'head';
create index {{outbox_events_heads}} on {{outbox_events}} (lane, topic, partition_key) where aside = 'head';
-- what waits behind them
create index {{outbox_events_followers}} on {{outbox_events}} (lane, topic, partition_key, seq) where aside = 'follower';
-- what was given up: found and counted by operators and samples
create index {{outbox_events_failed}} on {{outbox_events}} (failed_at) where aside = 'failed';
-- what was given up and has no copy outside
create index {{outbox_events_uncopied}} on {{outbox_events}} (uncopied_at, id) where uncopied_at is not null;
-- claims, by their age: empty in the mode `lanes`
create index {{outbox_events_locked}} on {{outbox_events}} (locked_at) where locked_at is not null;

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
    -- the `updated_at` of the failure that a storage outside has a copy of
    copied_at timestamptz,
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
-- What workers of stored messages read by. A line is what is in order: the messages of one key within their group's partition, or those
-- without a key; its hash, as a key may be longer than an index takes. What is due, oldest first:
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
-- what was given up: listed in order and counted, by group
create index {{inbox_events_failed}} on {{inbox_events}} (consumer_group, updated_at, id) where status = 'failed';
-- what was given up and has no copy outside
create index {{inbox_events_uncopied}} on {{inbox_events}} (updated_at, id)
    where status = 'failed' and copied_at is distinct from updated_at;

-- Sixteen rows, updated at every heartbeat: room in the page keeps those updates heap-only, and the table small.
create table {{outbox_lanes}} (
    lane smallint not null,
    owner uuid,
    worker text,
    epoch bigint not null default 0,
    leased_until timestamptz,
    idle boolean not null default false,
    -- nothing is due at or below this `seq`, but for what was set aside; owners move it on, and read from there
    read_to bigint not null default 0,
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

-- Who handles the messages of a group: runners as they come (direct), or workers from their rows (stored).
create table {{inbox_members}} (
    member uuid not null,
    consumer_group varchar(255) not null,
    handling text not null,
    alive_until timestamptz not null,
    constraint {{inbox_members_pkey}} primary key (member)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

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
-- as they came: listed, and cleaned up
create index {{inbox_quarantine_order}} on {{inbox_quarantine}} (consumer_group, created_at, id);

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

-- Circuit breakers that processes share: open until then, and whose trial it is after that.
create table {{omni_box_breakers}} (
    name varchar(255) not null,
    failures integer not null default 0,
    open_until timestamptz,
    trial uuid,
    trial_until timestamptz,
    constraint {{omni_box_breakers_pkey}} primary key (name)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Enqueues an event for triggers and programs in other languages, with the checks and the wake-up of the library: the id of the new event, or of
-- the one that has its idempotency key. It exists when the caller's transaction commits.
create function {{enqueue}}(
    event_type text,
    topic text,
    payload json,
    partition_key text default null,
    headers jsonb default '{}',
    aggregate_type text default null,
    aggregate_id uuid default null,
    idempotency_key text default null,
    schema_version text default null,
    trace_id text default null,
    correlation_id text default null,
    causation_id text default null,
    scheduled_at timestamptz default null,
    max_attempts integer default 6
) returns uuid language plpgsql as $function$
#variable_conflict use_column
declare
    created timestamptz := {{clock}};
    members jsonb := case jsonb_typeof($5) when 'object' then $5 else '{}' end;
    wrong text;
    stored uuid;
    its_lane smallint;
begin
    -- the first that does not fit; no message repeats a value
    select c.message into wrong
    from (
        select 1, format('%s needs 1 to %s characters', f.name, f.most)
        from (values
            ('event_type', coalesce($1, ''), 100), ('topic', coalesce($2, ''), 255), ('partition_key', $4, 255),
            ('aggregate_type', $6, 50), ('idempotency_key', $8, 128), ('schema_version', $9, 50)
        ) as f (name, value, most)
        where char_length(f.value) not between 1 and f.most
        union all
        select 2, 'payload is not a JSON object with a member'
        where json_typeof($3) is distinct from 'object' or $3::text ~ '^\s*\{\s*\}\s*$'
        union all
        select 3, 'payload has more than 1000000 bytes' where octet_length($3::text) > 1000000
        union all
        select 4, 'headers are no JSON object' where jsonb_typeof($5) <> 'object'
        union all
        select 5, 'more than 100 headers'
        from jsonb_each(members) having count(*) > 100
        union all
        select 6, 'a header''s key needs 1 to 64 characters, its value text of at most 512, and neither a control character'
        from jsonb_each(members) h
        where char_length(h.key) not between 1 and 64 or jsonb_typeof(h.value) <> 'string'
            or char_length(h.value #>> '{}') > 512 or h.key || (h.value #>> '{}') ~ '[\u0001-\u001f\u007f-\u009f]'
        union all
        select 7, 'a header is set from the event''s field of that name'
        from jsonb_each(members) h
        where lower(h.key) in
            ('event_id', 'event_type', 'schema_version', 'trace_id', 'correlation_id', 'causation_id')
        union all
        select 8, 'a header appears twice (case does not count)'
        from jsonb_each(members) h
        group by lower(h.key) having count(*) > 1
        union all
        select 9, 'scheduled_at is not between a minute ago and a year from now'
        where $13 not between created - interval '60 s' and created + interval '365 days'
        union all
        select 10, 'max_attempts needs to be at least 1' where coalesce($14, 0) < 1
    ) as c (place, message)
    order by c.place limit 1;
    if wrong is not null then
        raise exception using errcode = 'invalid_parameter_value', message = wrong;
    end if;

    insert into {{outbox_events}} (
        event_type, topic, payload, partition_key, headers, aggregate_type, aggregate_id, idempotency_key, schema_version,
        trace_id, correlation_id, causation_id, scheduled_at, max_attempts, created_at, updated_at
    )
    values (
        $1, $2, $3, $4, members, $6, $7, $8, $9,
        -- often a stranger chose them: one that does not fit is left out, and costs no event
        case when char_length($10) between 1 and 64 then $10 end,
        case when char_length($11) between 1 and 64 then $11 end,
        case when char_length($12) between 1 and 64 then $12 end,
        coalesce($13, created), $14, created, created
    )
    on conflict (idempotency_key) where idempotency_key is not null do nothing
    returning id, lane into stored, its_lane;
    if stored is not null then
        perform pg_notify('{{channel}}', '') from {{outbox_lanes}} l where l.idle and l.leased_until > now() and l.lane = its_lane;
        return stored;
    end if;
    select e.id into stored from {{outbox_events}} e where e.idempotency_key = $8;
    if stored is null then
        raise exception using errcode = 'serialization_failure',
            message = 'the event with this idempotency key was deleted meanwhile, run the transaction again';
    end if;
    return stored;
end
$function$;
