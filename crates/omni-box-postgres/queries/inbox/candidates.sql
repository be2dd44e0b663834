-- What may be claimed of the groups $2: the first message of each line among the oldest that are due, $1 of each sort, however many are
-- pending. Whether it is the first of its line in the table as well is for the claim to see. `more`: the groups of which more messages with
-- a line may be due than were looked at.
with ready as materialized (
    select w.*
    from unnest($2::text[]) as g (name)
    cross join lateral (
        select e.id, e.consumer_group, {{line:e}} as line, e.source_offset, e.scheduled_at
        from {{inbox_events}} e
        where e.status = 'pending' and e.locked_at is null and e.source_offset is not null
            and e.consumer_group = g.name and e.scheduled_at <= {{clock}}
            and (cardinality($3::text[]) = 0 or e.source = any($3::text[]))
        order by e.scheduled_at, e.id
        limit $1
    ) w
    order by w.scheduled_at, w.id
    limit $1
),
-- each without a place in a partition is a line of its own
keyless as materialized (
    select w.*
    from unnest($2::text[]) as g (name)
    cross join lateral (
        select e.id, e.consumer_group, null::bigint as line, e.source_offset, e.scheduled_at
        from {{inbox_events}} e
        where e.status = 'pending' and e.locked_at is null and e.source_offset is null
            and e.consumer_group = g.name and e.scheduled_at <= {{clock}}
            and (cardinality($3::text[]) = 0 or e.source = any($3::text[]))
        order by e.scheduled_at, e.id
        limit $1
    ) w
    order by w.scheduled_at, w.id
    limit $1
),
-- a claim that is older than the time to live ($4) is none; of null, each is one
stale as materialized (
    select
        e.id, e.consumer_group, case when e.source_offset is not null then {{line:e}} end as line, e.source_offset,
        e.scheduled_at
    from {{inbox_events}} e
    where e.status = 'pending' and e.locked_at is not null and e.locked_at < {{clock}} - $4::interval
        and e.consumer_group = any($2::text[]) and e.scheduled_at <= {{clock}}
        and (cardinality($3::text[]) = 0 or e.source = any($3::text[]))
    limit $1
),
found as (
    select * from ready
    union all
    select * from keyless
    union all
    select * from stale
)
select
    f.id,
    case when (select count(*) from ready) = $1 then $2::text[] else '{}' end as more,
    (select {{inbox_is_large}}) as is_large
from (
    select distinct on (consumer_group, line, case when line is null then id end) id
    from found
    order by consumer_group, line, case when line is null then id end, source_offset, id
) f
