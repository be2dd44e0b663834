-- The events themselves, and how each stands to its key.
select
    {{outbox_columns}},
    e.lane,
    e.seq,
    e.head,
    e.head = 0 and e.partition_key is not null and (
        exists (
            select 1 from {{outbox_events}} h
            where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
                and h.status = 'pending' and h.held = 1 and h.head = 1
        )
        or exists (
            -- of a key whose followers are being released, what comes before the rest of them goes on
            select 1 from {{outbox_events}} h
            where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
                and h.status = 'pending' and h.held = 1 and h.head = 0
                and h.seq < case when e.deferred = 1 then 9223372036854775807 else e.seq end
        )
    ),
    {{clock}}
from {{outbox_events}} e
where e.seq in (select j.value from json_each(?1) j)
order by e.lane, e.seq
