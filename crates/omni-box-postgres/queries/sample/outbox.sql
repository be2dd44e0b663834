-- One look at the outbox, counted to a limit. Each look-up has the order of its index: the planner scans the table otherwise, where most
-- rows are completed. What is due longest in a lane is its lowest seq, or its earliest schedule. $1 is the table's
-- name as text; of more than can be counted, the index knows about how many there are.
with lanes as materialized (
    select l.lane, l.owner is null or l.leased_until is null or l.leased_until < {{clock}} as unowned
    from {{outbox_lanes}} l
    order by l.lane
    limit 16
),
due as materialized (
    select
        min(least(
            (
                select e.created_at from {{outbox_events}} e
                where e.lane = l.lane and e.status = 'pending' and not e.held and not e.deferred
                order by e.seq
                limit 1
            ),
            (
                select e.scheduled_at from {{outbox_events}} e
                where e.lane = l.lane and e.status = 'pending' and e.deferred and not e.held
                    and e.scheduled_at <= {{statement_clock}}
                order by e.scheduled_at
                limit 1
            )
        )) as since,
        sum(d.deferred)::bigint as deferred,
        coalesce(bool_or(d.deferred > 600), false) as is_capped,
        count(*) filter (where l.unowned) as unowned
    from lanes l
    cross join lateral (
        select count(*) as deferred from (
            select from {{outbox_events}} e
            where e.lane = l.lane and e.status = 'pending' and e.deferred and not e.held
                and e.scheduled_at <= {{statement_clock}}
            order by e.scheduled_at
            limit 601
        ) x
    ) d
),
held as materialized (
    select
        count(*) filter (where x.hold_until is not null) as retrying,
        count(*) filter (where x.hold_until is null) as parked,
        count(*) > 10000 as is_capped,
        min(x.created_at) as since
    from (
        select e.hold_until, e.created_at from {{outbox_events}} e
        where e.status = 'pending' and e.held and e.head
        order by e.lane, e.hold_until
        limit 10001
    ) x
)
select
    case when (select c.delivery_mode from {{omni_box_control}} c limit 1) = 'lanes' then d.unowned end as unowned,
    (extract(epoch from {{statement_clock}} - d.since) * 1000000)::bigint as due_age,
    coalesce(d.deferred, 0) + (
        select count(*) from (
            select from {{outbox_events}} e
            where e.status = 'pending' and not e.held and not e.deferred
            order by e.lane, e.seq
            limit 10001
        ) x
    ) as due,
    d.is_capped as is_due_capped,
    coalesce((
        select max(i.reltuples)::bigint
        from pg_index k
        join pg_class i on i.oid = k.indexrelid
        where k.indrelid = to_regclass($1) and k.indnatts = 2
            and pg_get_indexdef(k.indexrelid, 1, true) = 'lane' and pg_get_indexdef(k.indexrelid, 2, true) = 'seq'
    ), 0) as about,
    h.retrying,
    h.parked,
    h.is_capped as is_held_capped,
    (extract(epoch from {{statement_clock}} - h.since) * 1000000)::bigint as held_age,
    (
        select count(*) from (
            select from {{outbox_events}} e where e.status = 'failed' order by e.updated_at limit 10001
        ) x
    ) as failed,
    (
        select (extract(epoch from max(clock_timestamp() - a.xact_start)) * 1000000)::bigint
        from pg_stat_activity a
        where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
    ) as transaction_age
from due d
cross join held h
