-- Followers of a lane whose head is gone (deleted or changed by an operator) become due again, at most so many, by key and seq.
update {{outbox_events}} as e
set held = 0, updated_at = {{clock}}
where e.seq in (
    select f.seq from {{outbox_events}} f
    where f.lane = ?1 and f.status = 'pending' and f.held = 1 and f.head = 0
        and not exists (
            select 1 from {{outbox_events}} h
            where h.lane = f.lane and h.topic = f.topic and h.partition_key = f.partition_key
                and h.status = 'pending' and h.held = 1 and h.head = 1
        )
    order by f.topic, f.partition_key, f.seq
    limit ?2
)
