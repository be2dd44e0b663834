-- At the end of the key, in the order they had. Scheduled when it was created: what was scheduled for later would be compared with a clock.
update {{outbox_events}} as e
set
    seq = m.top + n.place, status = 'pending', attempts_made = 0, scheduled_at = e.created_at, held = 0, head = 0, hold_until = null,
    locked_at = null, locked_by = null, updated_at = {{clock}}
from
    (select max(o.seq) as top from {{outbox_events}} o) m,
    (
        select o.id, row_number() over (order by o.seq) as place from {{outbox_events}} o
        where o.id in (select j.value from json_each(?1) j) and +o.status = 'failed'
    ) n
where e.id = n.id
returning id
