-- Messages that were given up, in the order in which that happened, behind the last one of the page before ($2, $3). Group by group along the
-- index of what was given up, so that a page costs what it holds, however many there are before and behind it. Without groups in $5, the
-- groups are found by jumping from name to name.
with recursive failed (consumer_group) as (
    (
        select e.consumer_group from {{inbox_events}} e
        where e.status = 'failed' and cardinality($5::text[]) = 0
        order by e.consumer_group
        limit 1
    )
    union all
    select (
        select e.consumer_group from {{inbox_events}} e
        where e.status = 'failed' and e.consumer_group > f.consumer_group
        order by e.consumer_group
        limit 1
    )
    from failed f
    where f.consumer_group is not null
),
groups as materialized (
    select g.consumer_group from (
        select f.consumer_group from failed f
        union
        select n.consumer_group from unnest($5::text[]) as n (consumer_group)
    ) g
    -- the planner takes them for one: it expects so many rows else that it compiles the statement
    where length(g.consumer_group) = length(g.consumer_group)
)
select {{inbox_columns}}
from groups g
cross join lateral (
    select e.* from {{inbox_events}} e
    where e.consumer_group = g.consumer_group and e.status = 'failed'
        and (e.updated_at, e.id)
            > (coalesce($2::timestamptz, '-infinity'), coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
        and (cardinality($4::text[]) = 0 or e.source = any($4::text[]))
    order by e.updated_at, e.id
    limit $1
) e
order by e.updated_at, e.id
limit $1
