-- The same for events that were scheduled for later and are due: they join at the end of their key, and from then on are events like
-- any other (not deferred), so that `seq` alone orders them.
update {{outbox_events}}
set held = 1, seq = n.seq, scheduled_at = created_at, updated_at = {{clock}}
from (
    select e.id, (select max(m.seq) from {{outbox_events}} m) + row_number() over (order by e.seq) as seq
    from {{outbox_events}} e
    where e.id in (select j.value from json_each(?1) j) and +e.lane in (select j.value from json_each(?2) j)
        and +e.status = 'pending' and +e.held = 0 and +e.deferred = 1
        and exists (
        select 1 from {{outbox_events}} h
        where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
            and h.status = 'pending' and h.held = 1 and h.head = 1
    )
) n
where {{outbox_events}}.id = n.id
