-- The same, claimed. A claim older than the time to live counts as none. The row lock re-reads a row that another worker has changed in the
-- meantime, and the conditions on it are judged again. Messages are judged until there are enough: an order would judge all of them.
-- By primary key: see the concatenation in inbox/settle_completed.sql.
with heads as (
    select e.id
    from {{inbox_events}} e
    where e.id = any(array(select f.id from unnest($2::uuid[]) as f (id))) and e.status || '' = 'pending'
        and (e.locked_at is null or e.locked_at < {{clock}} - $4::interval)
        and e.scheduled_at <= {{clock}}
        and (
            e.source_offset is null or (
                -- asked for in the order of the index of what is claimed: the planner takes one of all that is pending else
                (
                    select true from {{inbox_events}} o
                    where o.consumer_group = e.consumer_group and {{line:o}} = {{line:e}} and o.status = 'pending'
                        and o.locked_at is not null and o.locked_at >= {{clock}} - $4::interval
                        and o.source_offset is not null and o.id <> e.id
                    order by o.locked_at
                    limit 1
                ) is null
                and (
                    select o.id from {{inbox_events}} o
                    where o.consumer_group = e.consumer_group and {{line:o}} = {{line:e}} and o.status = 'pending'
                        and o.source_offset is not null
                    order by o.source_offset, o.id
                    limit 1
                ) = e.id
            )
        )
    limit $1
    for update of e skip locked
),
claimed as (
    update {{inbox_events}} e
    set locked_at = {{clock}}, locked_by = $3, updated_at = {{clock}}
    from heads h where e.id = h.id
    returning e.*
)
select {{inbox_columns}} from claimed e order by e.scheduled_at, e.id
