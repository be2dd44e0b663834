-- Due events of a lane by seq, with the size of their payload. Each branch is an index scan with a limit of its own.
select d.seq, d.bytes from (
    select * from (
        select e.seq, octet_length(e.payload) as bytes from {{outbox_events}} e
        where e.lane = ?1 and e.status = 'pending' and e.held = 0 and e.deferred = 0
            and e.id not in (select j.value from json_each(?3) j)
        order by e.seq
        limit ?2
    )
    union all
    select * from (
        select e.seq, octet_length(e.payload) as bytes from {{outbox_events}} e
        where e.lane = ?1 and e.status = 'pending' and e.held = 0 and e.deferred = 1 and e.scheduled_at <= {{clock}}
            and e.id not in (select j.value from json_each(?3) j)
        order by e.scheduled_at
        limit ?2
    )
    union all
    select * from (
        select e.seq, octet_length(e.payload) as bytes from {{outbox_events}} e
        where e.lane = ?1 and e.status = 'pending' and e.held = 1 and e.head = 1 and e.hold_until <= {{clock}}
            and e.id not in (select j.value from json_each(?3) j)
        order by e.hold_until
        limit ?2
    )
) d
order by d.seq
limit ?2
