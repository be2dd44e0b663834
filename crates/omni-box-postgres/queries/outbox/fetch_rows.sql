-- In the mode `rows`: of the candidates $2 those that no publisher has claimed, oldest first: of each key its oldest pending event, and none
-- while one of the key is claimed. An event scheduled for later is in line once it is due. What an event is compared with is found by two
-- indexes, one by place and one by time.
select {{outbox_columns}}
from {{outbox_events}} e
where e.id = any(array(select f.id from unnest($2::uuid[]) as f (id))) and e.status = 'pending'
    and e.locked_at is null
    and case
        when e.head then e.hold_until <= {{clock}}
        when e.deferred and not e.held then e.scheduled_at <= {{clock}}
        else true
    end
    and (
        e.partition_key is null or (
            -- in the order of its index, as in claim.sql
            (
                select true from {{outbox_events}} o
                where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                    and o.locked_at is not null and o.id <> e.id
                order by o.locked_at
                limit 1
            ) is null
            and (
                select true from {{outbox_events}} o
                where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                    and o.seq < e.seq and (o.held or not o.deferred or o.last_error is not null)
                order by o.seq
                limit 1
            ) is null
            -- of what was scheduled, the first by its time stands for all, and its place decides
            and (
                select o.seq < e.seq or o.id <> e.id and e.deferred and not e.held and e.last_error is null
                from {{outbox_events}} o
                where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                    and o.deferred and not o.held and o.last_error is null and o.scheduled_at <= {{clock}}
                order by o.scheduled_at, o.seq
                limit 1
            ) is not true
        )
    )
order by e.seq
limit $1
