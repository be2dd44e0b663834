-- The plus keeps the planner from walking the table by seq instead of by key.
-- Due events that no worker has claimed, oldest first: of each key its oldest pending event, and none while one of the key is
-- claimed. An event scheduled for later is in line once it is due.
select {{outbox_columns}}
from {{outbox_events}} e
where e.status = 'pending'
    and e.locked_at is null
    and case
        when e.head = 1 then e.hold_until <= {{clock}}
        when e.deferred = 1 and e.held = 0 then e.scheduled_at <= {{clock}}
        else true
    end
    and (?2 = '[]' or e.topic in (select j.value from json_each(?2) j))
    and (?3 = '[]' or e.aggregate_type in (select j.value from json_each(?3) j))
    and (?4 = '[]' or e.aggregate_id in (select j.value from json_each(?4) j))
    and (
        e.partition_key is null or (
            not exists (
                select 1 from {{outbox_events}} o
                where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                    and o.locked_at is not null  and o.seq <> e.seq
            )
            and not exists (
                select 1 from {{outbox_events}} o
                where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                    and +o.seq < e.seq and (o.held = 1 or o.deferred = 0 or o.scheduled_at <= {{clock}})
            )
        )
    )
order by e.seq
limit ?1
