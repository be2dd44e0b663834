-- Due events of lanes. Each branch is an index scan with a limit of its own. The planner takes an unknown limit for a tenth of
-- what there is: with the constant and with the limit said twice it expects a hundred rows, however large the table; without
-- them it expects so many that it compiles the statement (200 ms). statement_timestamp() is the database's clock in a form that an index
-- condition may have. Two sums bound the bytes: the first, of what is stored, unpacks nothing; the second, of the text, only
-- what the first let through.
with wanted as materialized (
    select
        w.lane,
        w.most,
        -- scalar subqueries with a limit stay index look-ups; the planner may turn `exists` into a hash of all that is held
        (
            select true from {{outbox_events}} h
            where h.lane = w.lane and h.status = 'pending' and h.held and h.head
            limit 1
        ) is not null or (
            select true from {{outbox_events}} h
            where h.lane = w.lane and h.status = 'pending' and h.held and not h.head
            limit 1
        ) is not null as any_held
    from unnest($1::smallint[], $2::int[]) as w (lane, most)
),
due as (
    select e.*, w.any_held, w.most, row_number() over (partition by e.lane order by e.seq) as place
    from wanted w
    cross join lateral (
        (
            select x.* from (select e.* from (
                select e.* from {{outbox_events}} e
                where e.lane = w.lane and e.status = 'pending' and not e.held and not e.deferred
                    and e.id <> all($3::uuid[])
                order by e.seq
                limit 10000
            ) e limit w.most) x
            limit w.most
        )
        union all
        (
            select x.* from (select e.* from (
                select e.* from {{outbox_events}} e
                where e.lane = w.lane and e.status = 'pending' and e.deferred and not e.held
                    and e.scheduled_at <= statement_timestamp() and e.id <> all($3::uuid[])
                order by e.scheduled_at
                limit 10000
            ) e limit w.most) x
            limit w.most
        )
        union all
        (
            select x.* from (select e.* from (
                select e.* from {{outbox_events}} e
                where e.lane = w.lane and e.status = 'pending' and e.held and e.head
                    and e.hold_until <= statement_timestamp() and e.id <> all($3::uuid[])
                order by e.hold_until
                limit 10000
            ) e limit w.most) x
            limit w.most
        )
    ) e
),
fitting as (
    select d.*, sum(pg_column_size(d.payload)) over (order by d.place, d.lane) - pg_column_size(d.payload) as before
    from due d
    where d.place <= d.most
),
bounded as (
    select e.*, octet_length(e.payload::text) as bytes
    from fitting e
    where e.before < $4
),
measured as (
    select e.*, sum(e.bytes) over (order by e.place, e.lane) - e.bytes as bytes_before from bounded e
)
select
    {{outbox_columns}},
    e.lane,
    e.seq,
    e.head as is_held_head,
    e.any_held and not e.head and e.partition_key is not null and (
        (
            select true from {{outbox_events}} h
            where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
                and h.status = 'pending' and h.held and h.head
            limit 1
        ) is not null or (
            select true from {{outbox_events}} h
            where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
                and h.status = 'pending' and h.held and not h.head
            limit 1
        ) is not null
    ) as is_behind_head
from measured e
where e.bytes_before < $4
order by e.lane, e.seq
