-- Makes the outbox of the Python library omni-box one of this library's, in place. The stored columns rewrite the table, once, while it is locked.
update {{outbox_events}} set updated_at = created_at where updated_at is null;
alter table {{outbox_events}} set (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000
);
-- What is completed gets numbers below all others, so that a clean-up can step through it.
create sequence {{schema}}.omni_box_adopted increment by 1 minvalue -4611686018427387904 start with -4611686018427387904;
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
    add column seq bigint not null default nextval($name${{schema}}.omni_box_adopted$name$),
    add column lane smallint not null generated always as (
        ((hashtextextended(topic || chr(31) || coalesce(partition_key, id::text), 0) & 9223372036854775807) % 16)::smallint
    ) stored,
    add column deferred boolean not null generated always as (scheduled_at - created_at > interval '1 second') stored,
    add column held boolean not null default false,
    add column head boolean not null default false,
    add column hold_until timestamptz,
    add column released boolean not null default false,
    add column copied_at timestamptz,
    add column aside varchar(8) generated always as (
        case
            when status = 'failed' then 'failed'
            when status <> 'pending' then null
            when held and head then 'head'
            when held then 'follower'
            when released then 'released'
            when scheduled_at - created_at > interval '1 second' then 'deferred'
        end
    ) stored,
    add column failed_at timestamptz generated always as (case when status = 'failed' then updated_at end) stored,
    add column uncopied_at timestamptz generated always as (
        case when status = 'failed' and copied_at is distinct from updated_at then updated_at end
    ) stored,
    add constraint {{outbox_events_status_check}} check (status in ('pending', 'completed', 'failed'));
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
drop sequence {{schema}}.omni_box_adopted;
select setval(
    pg_get_serial_sequence($table${{outbox_events}}$table$, 'seq'),
    greatest((select max(e.seq) from {{outbox_events}} e), 1),
    (select max(e.seq) >= 1 from {{outbox_events}} e) is true
);
