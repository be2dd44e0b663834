-- Due events of lanes that have no time of their own: those above a `seq`, and those that were released, wherever they lie. A row for
-- each lane at least, so that the answer tells in how many microseconds something with a time of its own is due: fetch_sized.sql reads that. Each
-- branch is an index scan with a limit of its own. Neither sorts, nor writes down what it has found: the reader sorts what is sorted
-- nearly, and stops reading where there are too many bytes. What is due comes first in the order of its index; the constant limit keeps the
-- planner from expecting a tenth of the table, and then from compiling the statement (200 ms). `not in (select ..)` hashes what is in
-- flight once; `<> all(..)` would compare each row with each id, as a plan made without the array's values cannot hash it.
-- What is completed lies in the same index, below the bound for the most part. `nullif(..)` hides how few rows are pending, else the planner
-- prefers a bitmap of all that is above the bound, and sorts it.
with wanted as materialized (
    select
        i.lane, i.most, i.above, i.any_held,
        case when i.timed_at is not null then (extract(epoch from
            least(greatest(i.timed_at, {{statement_clock}}), {{statement_clock}} + interval '1 h') - {{statement_clock}}
        ) * 1000000)::bigint end as timed_in
    from (
        select
            w.lane,
            w.most,
            -- how far the lane was read by all its owners
            greatest(w.above, l.read_to) as above,
            -- Scalar subqueries stay index look-ups; the planner may turn `exists` into a hash of all that is held. The first row of many is
            -- asked for in the index's order: without it the planner scans the table for one where it expects many. Heads of a key, below,
            -- are counted: they are few.
            (
                select true from {{outbox_events}} h
                where h.lane = w.lane and h.aside = 'head'
                order by h.topic
                limit 1
            ) is not null or (
                select true from {{outbox_events}} h
                where h.lane = w.lane and h.aside = 'follower'
                order by h.topic
                limit 1
            ) is not null as any_held,
            least((
                select h.hold_until from {{outbox_events}} h
                where h.lane = w.lane and h.aside = 'head'
                order by h.hold_until
                limit 1
            ), (
                select h.scheduled_at from {{outbox_events}} h
                where h.lane = w.lane and h.aside = 'deferred'
                order by h.scheduled_at
                limit 1
            )) as timed_at
        from unnest($1::smallint[], $2::int[], $4::bigint[]) as w (lane, most, above)
        join {{outbox_lanes}} l on l.lane = w.lane
        -- always so, and the planner takes the lanes for one: it expects so many rows else that it compiles the statement
        where abs(w.lane) = w.lane
        -- so that the planner asks each lane once
        offset 0
    ) i
)
select
    {{outbox_columns}},
    e.lane,
    e.seq,
    e.head as is_held_head,
    w.any_held and not e.head and e.partition_key is not null and (
        (
            select count(*) from {{outbox_events}} h
            where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
                and h.aside = 'head'
        ) > 0 or coalesce((
            -- of a key whose followers are being released, what comes before the rest of them goes on
            select h.seq from {{outbox_events}} h
            where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
                and h.aside = 'follower'
            order by h.seq
            limit 1
        ) < case when e.deferred then 9223372036854775807 else e.seq end, false)
    ) as is_behind_head,
    {{statement_clock}} as read_at,
    e.released,
    w.timed_in
from wanted w
left join lateral (
    (
        select x.* from (
            select e.* from {{outbox_events}} e
            where e.lane = w.lane and e.aside is null and nullif(e.status = 'pending', false) is not null
                and e.seq > w.above
                and e.id not in (select f.id from unnest($3::uuid[]) as f (id))
            order by e.seq
            limit 10000
        ) x
        limit w.most
    )
    union all
    (
        select x.* from (
            select e.* from {{outbox_events}} e
            where e.lane = w.lane and e.aside = 'released'
                and e.id not in (select f.id from unnest($3::uuid[]) as f (id))
            order by e.seq
            limit 10000
        ) x
        limit w.most
    )
) e on true
