-- Keys without a head of which followers wait.
select k.lane, k.topic, k.partition_key
from unnest($1::smallint[], $2::text[], $3::text[]) as k (lane, topic, partition_key)
where k.lane = any($4::smallint[]) and (
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
