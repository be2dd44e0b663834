-- Due events of lanes, where their bytes may not fit: `most` of those that have no time of their own, above a `seq` unless they were
-- released, and `most_timed` of those that have one; without heads of the topics in $7. Each branch is an index scan with a limit of its own. The planner takes an unknown limit for a tenth of
-- what there is: with the constant and with the limit said twice it expects a hundred rows, however large the table; without
-- them it expects so many that it compiles the statement (200 ms). {{statement_clock}} is the database's clock in a form
-- that an index condition may have. `not in (select ..)` hashes what is in flight once; `<> all(..)` would compare each row with each
-- id, as a plan made without the array's values cannot hash it. Bytes are summed up row by row only if they may not fit: those sums cost more than the rest.
with wanted as materialized (
    select
        w.lane,
        w.most,
        greatest(w.above, l.read_to) as above,
        w.most_timed,
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
        ) is not null as any_held
    from unnest($1::smallint[], $2::int[], $5::bigint[], $6::int[]) as w (lane, most, above, most_timed)
    join {{outbox_lanes}} l on l.lane = w.lane
    -- always so, and the planner takes the lanes for one: it expects so many rows else that it compiles the statement
    where abs(w.lane) = w.lane
),
due as materialized (
    select u.*, w.any_held
    from wanted w
    cross join lateral (
        select b.* from (
            (
                select x.* from (select e.* from (
                    select e.* from {{outbox_events}} e
                    where e.lane = w.lane and e.aside is null and nullif(e.status = 'pending', false) is not null
                        and e.seq > w.above
                        and e.id not in (select f.id from unnest($3::uuid[]) as f (id))
                    order by e.seq
                    limit 10000
                ) e limit w.most) x
                limit w.most
            )
            union all
            (
                select x.* from (select e.* from (
                    select e.* from {{outbox_events}} e
                    where e.lane = w.lane and e.aside = 'released'
                        and e.id not in (select f.id from unnest($3::uuid[]) as f (id))
                    order by e.seq
                    limit 10000
                ) e limit w.most) x
                limit w.most
            )
            union all
            (
                select x.* from (select e.* from (
                    select e.* from {{outbox_events}} e
                    where e.lane = w.lane and e.aside = 'deferred'
                        and e.scheduled_at <= {{statement_clock}} and e.id not in (select f.id from unnest($3::uuid[]) as f (id))
                    order by e.scheduled_at
                    limit 10000
                ) e limit w.most_timed) x
                limit w.most_timed
            )
            union all
            (
                select x.* from (select e.* from (
                    select e.* from {{outbox_events}} e
                    where e.lane = w.lane and e.aside = 'head' and cardinality($7::text[]) = 0
                        and e.hold_until <= {{statement_clock}} and e.id not in (select f.id from unnest($3::uuid[]) as f (id))
                    order by e.hold_until
                    limit 10000
                ) e limit w.most_timed) x
                limit w.most_timed
            )
            union all
            (
                -- where topics rest: those that have heads, found one after the other, and of each other one what is due
                select x.* from (
                    select e.* from (
                        with recursive topics as (
                            (
                                select h.topic from {{outbox_events}} h
                                where h.lane = w.lane and h.aside = 'head' and cardinality($7::text[]) > 0
                                order by h.topic
                                limit 1
                            )
                            union all
                            select (
                                select h.topic from {{outbox_events}} h
                                where h.lane = w.lane and h.aside = 'head' and h.topic > t.topic
                                order by h.topic
                                limit 1
                            )
                            from topics t
                            where t.topic is not null
                        )
                        select t.topic from topics t where t.topic <> all($7::text[])
                    ) t
                    cross join lateral (
                        select e.* from (
                            select e.* from {{outbox_events}} e
                            where e.lane = w.lane and e.topic = t.topic and e.aside = 'head'
                                and e.hold_until <= {{statement_clock}}
                                and e.id not in (select f.id from unnest($3::uuid[]) as f (id))
                            order by e.hold_until
                            limit 10000
                        ) e
                        limit w.most_timed
                    ) e
                    order by e.hold_until
                    limit w.most_timed
                ) x
            )
        ) b
        order by b.seq
        limit w.most + w.most_timed
    ) u
),
size as materialized (
    select
        coalesce(sum(pg_column_size(d.payload)), 0) <= $4
            and coalesce(bool_and(pg_column_compression(d.payload) is null), true) as fits
    from due d
),
-- Too much, or who knows: takes the first of each lane, then the second of each, while the bytes last. The first sum is of what is
-- stored and unpacks nothing; the second is of the text, of those that the first let through.
stored as (
    select d.id, d.payload, d.lane, d.place, sum(d.bytes) over (order by d.place, d.lane) - d.bytes as before
    from (
        select
            d.id, d.payload, d.lane, pg_column_size(d.payload) as bytes,
            row_number() over (partition by d.lane order by d.seq) as place
        from due d
        where not (select s.fits from size s)
    ) d
),
text as (
    select t.id, sum(t.bytes) over (order by t.place, t.lane) - t.bytes as before
    from (
        select s.id, s.lane, s.place, octet_length(s.payload::text) as bytes from stored s where s.before < $4
    ) t
),
chosen as (
    select d.* from due d where (select s.fits from size s)
    union all
    select d.* from due d where d.id in (select t.id from text t where t.before < $4)
)
select
    {{outbox_columns}},
    e.lane,
    e.seq,
    e.head as is_held_head,
    e.any_held and not e.head and e.partition_key is not null and (
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
    (select count(*) from due d) as all_due
from chosen e
order by e.lane, e.seq
