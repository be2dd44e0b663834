-- The same, claimed. A claim older than the time to live counts as none. The row lock re-reads a row that somebody else has
-- changed in the meantime, and the conditions on it are judged again.
with heads as (
    select e.id
    from {{outbox_events}} e
    where e.status = 'pending'
        and (e.locked_at is null or e.locked_at < {{clock}} - $6::interval)
        and case
            when e.head then e.hold_until <= {{clock}}
            when e.deferred and not e.held then e.scheduled_at <= {{clock}}
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
                        and o.locked_at is not null and o.locked_at >= {{clock}} - $6::interval and o.id <> e.id
                ) = 0
                and (
                    select true from {{outbox_events}} o
                    where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                        and o.seq < e.seq and (o.held or not o.deferred or o.last_error is not null or o.scheduled_at <= {{clock}})
                    order by o.seq
                    limit 1
                ) is null
            )
        )
    order by e.seq
    limit $1
    for update skip locked
),
claimed as (
    update {{outbox_events}} e
    set locked_at = {{clock}}, locked_by = $5, updated_at = {{clock}}
    from heads h where e.id = h.id
    returning e.*
)
select {{outbox_columns}} from claimed e order by e.seq
