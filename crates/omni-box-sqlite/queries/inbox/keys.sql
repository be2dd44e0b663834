-- The same by line, for what lies behind more messages of a few lines than `claimable` looks at: the first message of each of ?1 lines of
-- the group ?2 that come after ?5, whether it may be claimed, and its line.
with recursive lines (line, place) as (
    select (
        select {{line:o}} from {{inbox_events}} o
        where o.status = 'pending' and o.source_offset is not null and o.consumer_group = ?2 and {{line:o}} > ?5
        order by {{line:o}}
        limit 1
    ), 1
    union all
    select (
        select {{line:o}} from {{inbox_events}} o
        where o.status = 'pending' and o.source_offset is not null and o.consumer_group = ?2 and {{line:o}} > l.line
        order by {{line:o}}
        limit 1
    ), l.place + 1
    from lines l
    where l.line is not null and l.place < ?1
),
fronts as materialized (
    select
        l.line,
        l.place,
        (
            select o.id from {{inbox_events}} o
            where o.status = 'pending' and o.source_offset is not null and o.consumer_group = ?2 and {{line:o}} = l.line
            order by o.source_offset, o.id
            limit 1
        ) as id
    from lines l
    where l.line is not null
)
select
    e.id,
    e.scheduled_at,
    (
        (e.locked_at is null or coalesce(e.locked_at < {{clock}} - ?4, false))
        and e.scheduled_at <= {{clock}}
        and (?3 = '[]' or e.source in (select j.value from json_each(?3) j))
        and not exists (
            select 1 from {{inbox_events}} o
            where o.consumer_group = ?2 and {{line:o}} = f.line and o.status = 'pending'
                and o.locked_at is not null and (?4 is null or o.locked_at >= {{clock}} - ?4)
                and +o.source_offset is not null and o.id <> e.id
        )
    ) as is_free,
    f.line
from fronts f cross join {{inbox_events}} e on e.id = f.id
order by f.place
