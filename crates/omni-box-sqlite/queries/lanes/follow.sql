-- Events wait behind the head of their key, if it still has one.
update {{outbox_events}} as e
set held = 1, updated_at = {{clock}}
where e.id in (select j.value from json_each(?1) j) and +e.lane in (select j.value from json_each(?2) j)
    and +e.status = 'pending' and +e.held = 0 and +e.deferred = 0
    and exists (
        select 1 from {{outbox_events}} h
        where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
            and h.status = 'pending' and h.held = 1 and h.head = 1
    )
