-- The same, claimed. A claim older than the time to live counts as none. The row lock re-reads a row that another publisher has
-- changed in the meantime, and the conditions on it are judged again.
with heads as (
    select e.id
    from {{outbox_events}} e
    where e.id = any(array(select f.id from unnest($2::uuid[]) as f (id))) and e.status = 'pending'
        and (e.locked_at is null or e.locked_at < {{clock}} - $4::interval)
        and case
            when e.head then e.hold_until <= {{clock}}
            when e.deferred and not e.held then e.scheduled_at <= {{clock}}
            else true
        end
        and (
            e.partition_key is null or (
                -- asked for in the order of the index of what is claimed: the planner counts along one of all that is pending else
                (
                    select true from {{outbox_events}} o
                    where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                        and o.locked_at is not null and o.locked_at >= {{clock}} - $4::interval and o.id <> e.id
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
    for update skip locked
),
claimed as (
    update {{outbox_events}} e
    set locked_at = {{clock}}, locked_by = $3, updated_at = {{clock}}
    from heads h where e.id = h.id
    returning e.*
)
select {{outbox_columns}} from claimed e order by e.seq
