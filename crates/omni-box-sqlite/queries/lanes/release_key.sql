-- What waits behind a head that is done becomes due again, in its old order; not while another head of the key waits.
update {{outbox_events}} as f
set held = 0, updated_at = {{clock}}
where f.lane = ?1 and f.topic = ?2 and f.partition_key = ?3 and f.status = 'pending' and f.held = 1 and f.head = 0
    and not exists (
        select 1 from {{outbox_events}} h
        where h.lane = f.lane and h.topic = f.topic and h.partition_key = f.partition_key
            and h.status = 'pending' and h.held = 1 and h.head = 1
    )
