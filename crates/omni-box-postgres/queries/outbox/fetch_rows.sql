-- In the mode `rows`, by its indexes: due events that nobody has claimed, oldest first: of each key its oldest pending event, and none while one of the key is
-- claimed. An event scheduled for later is in line once it is due.
select {{outbox_columns}}
from {{outbox_events}} e
where e.status = 'pending'
    and e.locked_at is null
    and case
        when e.head then e.hold_until <= {{statement_clock}}
        when e.deferred and not e.held then e.scheduled_at <= {{statement_clock}}
        else true
    end
    and (cardinality($2::text[]) = 0 or e.topic = any($2::text[]))
    and (cardinality($3::text[]) = 0 or e.aggregate_type = any($3::text[]))
    and (cardinality($4::uuid[]) = 0 or e.aggregate_id = any($4::uuid[]))
    and (
        e.partition_key is null or (
            (
                select count(*) from {{outbox_events}} o
                where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                    and o.locked_at is not null and o.id <> e.id
            ) = 0
            and (
                select true from {{outbox_events}} o
                where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                    and o.seq < e.seq and (o.held or not o.deferred or o.last_error is not null or o.scheduled_at <= {{statement_clock}})
                order by o.seq
                limit 1
            ) is null
        )
    )
order by e.seq
limit $1
