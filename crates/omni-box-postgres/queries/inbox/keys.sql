-- The same by line, for what lies behind more messages of a few lines than `candidates` looks at: the first message of each of $1 lines of
-- the group $4 that come after $5, whether it may be claimed, and its line.
with recursive fronts as (
    (
        select e.id, {{line:e}} as line, e.locked_at, e.scheduled_at, e.source, 1 as place
        from {{inbox_events}} e
        where e.status = 'pending' and e.source_offset is not null and e.consumer_group = $4 and {{line:e}} > $5::bigint
        order by {{line:e}}, e.source_offset, e.id
        limit 1
    )
    union all
    select n.*, f.place + 1
    from fronts f
    cross join lateral (
        select e.id, {{line:e}} as line, e.locked_at, e.scheduled_at, e.source
        from {{inbox_events}} e
        where e.status = 'pending' and e.source_offset is not null and e.consumer_group = $4 and {{line:e}} > f.line
        order by {{line:e}}, e.source_offset, e.id
        limit 1
    ) n
    where f.place < $1
)
select
    e.id,
    (
        (e.locked_at is null or coalesce(e.locked_at < {{clock}} - $3::interval, false))
        and e.scheduled_at <= {{clock}}
        and (cardinality($2::text[]) = 0 or e.source = any($2::text[]))
    ) is true as is_free,
    e.line
from fronts e
order by e.place
