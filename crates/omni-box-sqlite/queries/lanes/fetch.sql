-- Due events of a lane by seq, with the size of their payload, without heads of the topics in ?4. Each branch is an index scan with a limit
-- of its own. Topics that have heads are found one after the other, where any rests.
with recursive topics (topic) as (
    select min(h.topic) from {{outbox_events}} h indexed by {{outbox_events_topics}}
    where h.lane = ?1 and h.status = 'pending' and h.held = 1 and h.head = 1 and json_array_length(?4) > 0
    union all
    select (
        select min(h.topic) from {{outbox_events}} h indexed by {{outbox_events_topics}}
        where h.lane = ?1 and h.status = 'pending' and h.held = 1 and h.head = 1 and h.topic > t.topic
    )
    from topics t
    where t.topic is not null
)
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
            and e.id not in (select j.value from json_each(?3) j) and json_array_length(?4) = 0
        order by e.hold_until
        limit ?2
    )
    union all
    -- where topics rest: heads by topic, of those that do not
    select * from (
        select e.seq, octet_length(e.payload) as bytes
        from topics t
        cross join {{outbox_events}} e
        where t.topic not in (select j.value from json_each(?4) j)
            and e.seq in (
                select h.seq from {{outbox_events}} h
                where h.lane = ?1 and h.topic = t.topic and h.status = 'pending' and h.held = 1 and h.head = 1
                    and h.hold_until <= {{clock}} and h.id not in (select j.value from json_each(?3) j)
                order by h.hold_until
                limit ?2
            )
        order by e.hold_until
        limit ?2
    )
) d
order by d.seq
limit ?2
