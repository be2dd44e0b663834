-- Makes the inbox of the Python library omni-box one of this library's, in place. Nothing is rewritten; the new constraint reads the table
-- once, while it is locked.
update {{inbox_events}} set updated_at = created_at where updated_at is null;
alter table {{inbox_events}}
    alter column id set default gen_random_uuid(),
    alter column headers set default '{}',
    alter column status set default 'pending',
    alter column attempts_made set default 0,
    alter column max_attempts set default 6,
    alter column scheduled_at set default now(),
    alter column created_at set default now(),
    alter column updated_at set default now(),
    alter column updated_at set not null,
    add column partition_key varchar(255),
    add column source_topic varchar(255),
    add column source_partition integer,
    add column source_offset bigint,
    add column produced_at timestamptz,
    add column digest bytea,
    add column raw_key bytea,
    add column copied_at timestamptz,
    add constraint {{inbox_events_status_check}} check (status in ('pending', 'completed', 'failed'));
alter table {{inbox_events}} set (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000
);
