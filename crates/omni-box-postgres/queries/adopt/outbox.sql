-- Makes the outbox of the Python library omni-box one of this library's, in place. The stored columns rewrite the table, once, while it is locked.
update {{outbox_events}} set updated_at = created_at where updated_at is null;
alter table {{outbox_events}}
    alter column id set default gen_random_uuid(),
    alter column aggregate_type drop not null,
    alter column aggregate_id drop not null,
    alter column partition_key drop not null,
    alter column headers set default '{}',
    alter column status set default 'pending',
    alter column attempts_made set default 0,
    alter column max_attempts set default 6,
    alter column scheduled_at set default now(),
    alter column created_at set default now(),
    alter column updated_at set default now(),
    alter column updated_at set not null,
    add column seq bigint not null default 0,
    add column lane smallint not null generated always as (
        ((hashtextextended(topic || chr(31) || coalesce(partition_key, id::text), 0) & 9223372036854775807) % 16)::smallint
    ) stored,
    add column deferred boolean not null generated always as (scheduled_at - created_at > interval '1 second') stored,
    add column held boolean not null default false,
    add column head boolean not null default false,
    add column hold_until timestamptz,
    add column released boolean not null default false,
    add column copied_at timestamptz,
    add constraint {{outbox_events_status_check}} check (status in ('pending', 'completed', 'failed'));
alter table {{outbox_events}} set (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000
);
-- The order in which Python publishes them. What is completed is never put in order again.
update {{outbox_events}} e
set seq = n.position
from (
    select o.id, row_number() over (order by o.created_at, o.id) as position
    from {{outbox_events}} o where o.status <> 'completed'
) n
where e.id = n.id;
alter table {{outbox_events}}
    alter column seq drop default,
    alter column seq add generated always as identity (cache 1);
select setval(
    pg_get_serial_sequence($table${{outbox_events}}$table$, 'seq'),
    greatest((select max(e.seq) from {{outbox_events}} e), 1),
    (select max(e.seq) >= 1 from {{outbox_events}} e) is true
);
