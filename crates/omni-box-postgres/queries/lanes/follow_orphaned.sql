-- Keys of these events that have followers but no head: the followers become due again, ahead of the events.
update {{outbox_events}} f
set held = false, updated_at = {{clock}}
from (
    select distinct e.lane, e.topic, e.partition_key from {{outbox_events}} e
    where e.id = any($1::uuid[]) and e.lane = any($2::smallint[]) and e.partition_key is not null
) k
where f.lane = k.lane and f.topic = k.topic and f.partition_key = k.partition_key
    and f.status = 'pending' and f.held and not f.head
    and (
        select true from {{outbox_events}} h
        where h.lane = k.lane and h.topic = k.topic and h.partition_key = k.partition_key
            and h.status = 'pending' and h.held and h.head
        limit 1
    ) is null
