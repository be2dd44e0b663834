-- Messages that were given up and were sent again: pending, with all their attempts, at their new place.
update {{inbox_events}} e
set
    status = 'pending',
    attempts_made = 0,
    scheduled_at = {{clock}},
    source_topic = n.source_topic,
    source_partition = n.source_partition,
    source_offset = n.source_offset,
    locked_at = null,
    locked_by = null,
    updated_at = {{clock}}
from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[])
    as n (message_id, consumer_group, source_topic, source_partition, source_offset)
where e.message_id = n.message_id and e.consumer_group = n.consumer_group and e.status || '' = 'failed'
