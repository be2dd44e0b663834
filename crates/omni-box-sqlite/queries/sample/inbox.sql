-- One look at the inbox, counted to a limit. The groups are found by jumping from name to name along indexes: a group has some pending,
-- failed or quarantined messages, or an owner of a partition. ?1 is how many groups at most.
with recursive pending (consumer_group, place) as (
    select min(e.consumer_group), 1 from {{inbox_events}} e where e.status = 'pending'
    union all
    select (
        select e.consumer_group from {{inbox_events}} e
        where e.status = 'pending' and e.consumer_group > p.consumer_group
        order by e.consumer_group
        limit 1
    ), p.place + 1
    from pending p
    where p.consumer_group is not null and p.place < ?1
),
failed (consumer_group, place) as (
    select min(e.consumer_group), 1 from {{inbox_events}} e where e.status = 'failed'
    union all
    select (
        select e.consumer_group from {{inbox_events}} e
        where e.status = 'failed' and e.consumer_group > f.consumer_group
        order by e.consumer_group
        limit 1
    ), f.place + 1
    from failed f
    where f.consumer_group is not null and f.place < ?1
),
quarantined (consumer_group, place) as (
    select min(q.consumer_group), 1 from {{inbox_quarantine}} q
    union all
    select (
        select q.consumer_group from {{inbox_quarantine}} q
        where q.consumer_group > k.consumer_group
        order by q.consumer_group
        limit 1
    ), k.place + 1
    from quarantined k
    where k.consumer_group is not null and k.place < ?1
),
groups as materialized (
    select g.consumer_group from (
        select p.consumer_group from pending p
        union select f.consumer_group from failed f
        union select k.consumer_group from quarantined k
        union select a.consumer_group from {{inbox_partitions}} a
    ) g
    where g.consumer_group is not null
    order by g.consumer_group
    limit ?1
)
select
    g.consumer_group,
    (
        select count(*) filter (where x.scheduled_at <= {{clock}}) from (
            select e.scheduled_at from {{inbox_events}} e
            where e.consumer_group = g.consumer_group and e.status = 'pending'
            order by e.source_topic, e.source_partition, e.source_offset
            limit 10001
        ) x
    ),
    (
        select {{clock}} - min(x.scheduled_at) filter (where x.scheduled_at <= {{clock}}) from (
            select e.scheduled_at from {{inbox_events}} e
            where e.consumer_group = g.consumer_group and e.status = 'pending'
            order by e.source_topic, e.source_partition, e.source_offset
            limit 10001
        ) x
    ),
    (
        select count(*) from (
            select 1 from {{inbox_events}} e
            where e.consumer_group = g.consumer_group and e.status = 'failed'
            order by e.updated_at
            limit 10001
        )
    ),
    (
        select count(*) from (
            select 1 from {{inbox_quarantine}} q
            where q.consumer_group = g.consumer_group
            order by q.topic, q.partition, q."offset"
            limit 10001
        )
    )
from groups g
order by g.consumer_group
