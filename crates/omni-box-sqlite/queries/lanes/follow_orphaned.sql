-- Keys of these events that have followers but no head: the followers become due again, ahead of the events.
update {{outbox_events}} as f
set held = 0, updated_at = {{clock}}
where f.status = 'pending' and f.held = 1 and f.head = 0
    and (f.lane, f.topic, f.partition_key) in (
        select e.lane, e.topic, e.partition_key from {{outbox_events}} e
        where e.id in (select j.value from json_each(?1) j) and +e.lane in (select j.value from json_each(?2) j)
            and e.partition_key is not null
    )
    and not exists (
        select 1 from {{outbox_events}} h
        where h.lane = f.lane and h.topic = f.topic and h.partition_key = f.partition_key
            and h.status = 'pending' and h.held = 1 and h.head = 1
    )
