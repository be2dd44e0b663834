-- What the models of the Python library omni-box (0.3.1) create; a test of omni-box compares this with the library itself.
create table outbox_events (
    id uuid not null,
    event_type varchar(100) not null,
    payload jsonb not null,
    headers jsonb,
    trace_id varchar(64),
    idempotency_key varchar(128),
    correlation_id varchar(64),
    causation_id varchar(64),
    schema_version varchar(50),
    status varchar(20) not null,
    attempts_made integer not null,
    max_attempts integer not null,
    last_error varchar(2000),
    scheduled_at timestamp with time zone not null,
    completed_at timestamp with time zone,
    locked_at timestamp with time zone,
    locked_by varchar(255),
    created_at timestamp with time zone default timezone('UTC', now()) not null,
    updated_at timestamp with time zone default timezone('UTC', now()),
    aggregate_type varchar(50) not null,
    aggregate_id uuid not null,
    topic varchar(255) not null,
    partition_key varchar(255) not null,
    primary key (id),
    constraint ck_outbox_events_attempts_valid check (attempts_made <= max_attempts),
    constraint ck_outbox_events_completed_status_consistency check ((status = 'completed' and completed_at is not null) or (status != 'completed' and completed_at is null)),
    constraint ck_outbox_events_lock_consistency check ((locked_at is null and locked_by is null) or (locked_at is not null and locked_by is not null))
);
create index idx_outbox_events_completed_cleanup on outbox_events (completed_at) where status = 'completed' and completed_at is not null;
create index idx_outbox_events_created_at on outbox_events (created_at);
create unique index idx_outbox_events_idempotency_key on outbox_events (idempotency_key) where idempotency_key is not null;
create index idx_outbox_events_locked_at on outbox_events (locked_at) where locked_at is not null;
create index idx_outbox_events_pending_fetch on outbox_events (scheduled_at) where status = 'pending' and locked_at is null and attempts_made < max_attempts;
create index idx_outbox_events_pending_key_order on outbox_events (topic, partition_key, created_at) where status = 'pending';
create index idx_outbox_events_updated_at on outbox_events (updated_at);
create table inbox_events (
    id uuid not null,
    event_type varchar(100) not null,
    payload jsonb not null,
    headers jsonb,
    trace_id varchar(64),
    idempotency_key varchar(128),
    correlation_id varchar(64),
    causation_id varchar(64),
    schema_version varchar(50),
    status varchar(20) not null,
    attempts_made integer not null,
    max_attempts integer not null,
    last_error varchar(2000),
    scheduled_at timestamp with time zone not null,
    completed_at timestamp with time zone,
    locked_at timestamp with time zone,
    locked_by varchar(255),
    created_at timestamp with time zone default timezone('UTC', now()) not null,
    updated_at timestamp with time zone default timezone('UTC', now()),
    message_id varchar(255) not null,
    consumer_group varchar(255) not null,
    source varchar(255) not null,
    primary key (id),
    constraint ck_inbox_events_attempts_valid check (attempts_made <= max_attempts),
    constraint ck_inbox_events_completed_status_consistency check ((status = 'completed' and completed_at is not null) or (status != 'completed' and completed_at is null)),
    constraint ck_inbox_events_lock_consistency check ((locked_at is null and locked_by is null) or (locked_at is not null and locked_by is not null))
);
create unique index idx_inbox_deduplication on inbox_events (message_id, consumer_group);
create index idx_inbox_events_completed_cleanup on inbox_events (completed_at) where status = 'completed' and completed_at is not null;
create index idx_inbox_events_created_at on inbox_events (created_at);
create unique index idx_inbox_events_idempotency_key on inbox_events (idempotency_key) where idempotency_key is not null;
create index idx_inbox_events_locked_at on inbox_events (locked_at) where locked_at is not null;
create index idx_inbox_events_pending_fetch on inbox_events (scheduled_at) where status = 'pending' and locked_at is null and attempts_made < max_attempts;
create index idx_inbox_events_updated_at on inbox_events (updated_at);
