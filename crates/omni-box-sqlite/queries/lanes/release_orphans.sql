-- Followers whose head is gone (deleted or changed by an operator) become due again.
update {{outbox_events}} as f
set held = 0, updated_at = {{clock}}
where f.lane in (select j.value from json_each(?1) j) and f.status = 'pending' and f.held = 1 and f.head = 0
    and not exists (
        select 1 from {{outbox_events}} h
        where h.lane = f.lane and h.topic = f.topic and h.partition_key = f.partition_key
            and h.status = 'pending' and h.held = 1 and h.head = 1
    )
