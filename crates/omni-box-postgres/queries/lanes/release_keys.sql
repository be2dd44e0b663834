-- What waits behind a head that is done becomes due again, in its old order; not while another head of the key waits.
update {{outbox_events}} e
set held = false, updated_at = {{clock}}
from unnest($1::smallint[], $2::text[], $3::text[]) as k (lane, topic, partition_key)
where e.lane = k.lane and e.topic = k.topic and e.partition_key = k.partition_key
    and e.status = 'pending' and e.held and not e.head
    and k.lane = any($4::smallint[])
    and (
        select count(*) from {{outbox_events}} h
        where h.lane = k.lane and h.topic = k.topic and h.partition_key = k.partition_key
            and h.status = 'pending' and h.held and h.head
    ) = 0
