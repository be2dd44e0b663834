-- Followers whose head is gone (deleted or changed by an operator) become due again. Steps from key to key of what waits; a
-- head without followers costs nothing. At most $4 of them: the steps end there, and keys that were released are gone from the next ones.
-- The concatenation is that of inbox/settle_completed.sql.
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
        where e.lane = m.lane and e.aside = 'follower'
        order by e.topic, e.partition_key
        limit 1
    ) f
    union all
    select f.* from keys k cross join lateral (
        select e.lane, e.topic, e.partition_key from {{outbox_events}} e
        where e.lane = k.lane and e.aside = 'follower'
            and (e.topic, e.partition_key) > (k.topic, k.partition_key)
        order by e.topic, e.partition_key
        limit 1
    ) f
)
update {{outbox_events}} e
set held = false, released = true, updated_at = {{clock}}
where e.id = any(array(
    select b.id from keys k
    cross join lateral (
        select f.id from {{outbox_events}} f
        where f.lane = k.lane and f.topic = k.topic and f.partition_key = k.partition_key
            and f.aside = 'follower'
        order by f.seq
        limit (select $4::bigint)
    ) b
    where (
        select count(*) from {{outbox_events}} h
        where h.lane = k.lane and h.topic = k.topic and h.partition_key = k.partition_key
            and h.aside = 'head'
    ) = 0
    limit (select $4::bigint)
)) and e.status || '' = 'pending' and e.held and not e.head
