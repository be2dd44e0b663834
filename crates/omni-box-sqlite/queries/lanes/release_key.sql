-- What waits behind a head that is done becomes due again, in its old order; not while another head of the key waits. At most so many.
update {{outbox_events}} as e
set held = 0, updated_at = {{clock}}
where e.seq in (
    select f.seq from {{outbox_events}} f
    where f.lane = ?1 and f.topic = ?2 and f.partition_key = ?3 and f.status = 'pending' and f.held = 1 and f.head = 0
    order by f.seq
    limit ?4
) and not exists (
        select 1 from {{outbox_events}} h
        where h.lane = ?1 and h.topic = ?2 and h.partition_key = ?3
            and h.status = 'pending' and h.held = 1 and h.head = 1
    )
