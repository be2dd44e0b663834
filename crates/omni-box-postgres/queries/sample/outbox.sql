-- One look at the outbox, counted to a limit. Each look-up has the order of its index: the planner scans the table otherwise, where most
-- rows are completed. In the mode `lanes` what is in line lies above `read_to` of its lane, in the mode `rows` in that mode's own index. What is
-- due longest in a lane is its lowest seq, or its earliest schedule. $1 is the table's name as text. Of more than can be counted there are about
-- as many as numbers were given since, or as the index of the mode `rows` knows.
with mode as materialized (
    select c.delivery_mode = 'rows' as is_rows from {{omni_box_control}} c limit 1
),
lanes as materialized (
    select l.lane, l.read_to, l.owner is null or l.leased_until is null or l.leased_until < {{clock}} as unowned
    from {{outbox_lanes}} l
    order by l.lane
    limit 16
),
due as materialized (
    select
        min(least(
            (
                select e.created_at from {{outbox_events}} e
                where not (select m.is_rows from mode m)
                    and e.lane = l.lane and e.aside is null and nullif(e.status = 'pending', false) is not null and e.seq > l.read_to
                order by e.seq
                limit 1
            ),
            (
                select e.created_at from {{outbox_events}} e
                where e.lane = l.lane and e.aside = 'released'
                order by e.seq
                limit 1
            ),
            (
                select e.scheduled_at from {{outbox_events}} e
                where e.lane = l.lane and e.aside = 'deferred' and e.scheduled_at <= {{statement_clock}}
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
            where e.lane = l.lane and e.aside = 'deferred' and e.scheduled_at <= {{statement_clock}}
            order by e.scheduled_at
            limit 601
        ) x
    ) d
),
in_line as materialized (
    select count(*) as due, min(x.created_at) as since
    from (
        (
            select e.created_at
            from lanes l
            cross join lateral (
                select e.created_at from {{outbox_events}} e
                where not (select m.is_rows from mode m)
                    and e.lane = l.lane and e.aside is null and nullif(e.status = 'pending', false) is not null and e.seq > l.read_to
                order by e.seq
                limit 10001
            ) e
            limit 10001
        )
        union all
        (
            select r.created_at
            from (
                select by_rows.created_at, by_rows.aside from {{outbox_events}} by_rows
                where (select m.is_rows from mode m) and by_rows.status = 'pending'
                order by by_rows.seq
                limit 10001
            ) r
            where r.aside is null
        )
        union all
        (
            select e.created_at from {{outbox_events}} e where e.aside = 'released' order by e.lane, e.seq limit 10001
        )
    ) x
),
held as materialized (
    select
        count(*) filter (where x.hold_until is not null) as retrying,
        count(*) filter (where x.hold_until is null) as parked,
        count(*) > 10000 as is_capped,
        min(x.created_at) as since
    from (
        select e.hold_until, e.created_at from {{outbox_events}} e
        where e.aside = 'head'
        order by e.lane, e.hold_until
        limit 10001
    ) x
)
select
    case when (select c.delivery_mode from {{omni_box_control}} c limit 1) = 'lanes' then d.unowned end as unowned,
    (extract(epoch from {{statement_clock}} - least(d.since, i.since)) * 1000000)::bigint as due_age,
    coalesce(d.deferred, 0) + i.due as due,
    d.is_capped as is_due_capped,
    case
        when (select m.is_rows from mode m) then coalesce((
            select max(c.reltuples)::bigint
            from pg_index k
            join pg_class c on c.oid = k.indexrelid
            where k.indrelid = to_regclass($1) and k.indnatts = 1 and pg_get_indexdef(k.indexrelid, 1, true) = 'seq'
        ), 0)
        else coalesce((
            select sum(t.seq - l.read_to)::bigint / 16
            from lanes l
            cross join lateral (
                select e.seq from {{outbox_events}} e
                where e.lane = l.lane and e.aside is null and e.seq > l.read_to
                order by e.seq desc
                limit 1
            ) t
        ), 0)
    end as about,
    h.retrying,
    h.parked,
    h.is_capped as is_held_capped,
    (extract(epoch from {{statement_clock}} - h.since) * 1000000)::bigint as held_age,
    (
        select count(*) from (
            select from {{outbox_events}} e where e.aside = 'failed' order by e.failed_at limit 10001
        ) x
    ) as failed,
    (
        select (extract(epoch from max(clock_timestamp() - a.xact_start)) * 1000000)::bigint
        from pg_stat_activity a
        where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
    ) as transaction_age
from due d
cross join in_line i
cross join held h
