-- Keys of these events that have followers but no head.
select distinct e.lane, e.topic, e.partition_key from {{outbox_events}} e
where e.id in (select j.value from json_each(?1) j) and +e.lane in (select j.value from json_each(?2) j)
    and e.partition_key is not null
    and exists (
        select 1 from {{outbox_events}} f
        where f.lane = e.lane and f.topic = e.topic and f.partition_key = e.partition_key
            and f.status = 'pending' and f.held = 1 and f.head = 0
    )
    and not exists (
        select 1 from {{outbox_events}} h
        where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
            and h.status = 'pending' and h.held = 1 and h.head = 1
    )
