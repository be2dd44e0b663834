-- Followers whose head is gone (deleted or changed by an operator) become due again. Steps from key to key of what waits; a
-- head without followers costs nothing.
with recursive mine as materialized (
    select l.lane from {{outbox_lanes}} l
    join unnest($2::smallint[], $3::bigint[]) as w (lane, epoch) on l.lane = w.lane and l.epoch = w.epoch
    where l.owner = $1
    order by l.lane
    for key share of l
),
keys as (
    select f.* from mine m cross join lateral (
        select e.lane, e.topic, e.partition_key from {{outbox_events}} e
        where e.lane = m.lane and e.status = 'pending' and e.held and not e.head
        order by e.topic, e.partition_key
        limit 1
    ) f
    union all
    select f.* from keys k cross join lateral (
        select e.lane, e.topic, e.partition_key from {{outbox_events}} e
        where e.lane = k.lane and e.status = 'pending' and e.held and not e.head
            and (e.topic, e.partition_key) > (k.topic, k.partition_key)
        order by e.topic, e.partition_key
        limit 1
    ) f
),
orphaned as materialized (
    select k.lane, k.topic, k.partition_key from keys k
    where (
        select count(*) from {{outbox_events}} h
        where h.lane = k.lane and h.topic = k.topic and h.partition_key = k.partition_key
            and h.status = 'pending' and h.held and h.head
    ) = 0
)
update {{outbox_events}} e
set held = false, updated_at = {{clock}}
from orphaned o
where e.lane = o.lane and e.topic = o.topic and e.partition_key = o.partition_key
    and e.status = 'pending' and e.held and not e.head
