-- Keys of these events that have followers but no head.
with keys as materialized (
    select distinct e.lane, e.topic, e.partition_key from {{outbox_events}} e
    where e.id = any($1::uuid[]) and e.lane = any($2::smallint[]) and e.partition_key is not null
)
select k.lane, k.topic, k.partition_key from keys k
where (
        select count(*) from {{outbox_events}} h
        where h.lane = k.lane and h.topic = k.topic and h.partition_key = k.partition_key
            and h.aside = 'head'
    ) = 0 and (
        select f.id from {{outbox_events}} f
        where f.lane = k.lane and f.topic = k.topic and f.partition_key = k.partition_key
            and f.aside = 'follower'
        order by f.seq
        limit 1
    ) is not null
