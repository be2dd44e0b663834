-- Of the candidates $2 those that no worker has claimed, oldest first: of each line its oldest pending message, and none while one of the
-- line is claimed. By primary key: see the concatenation in inbox/settle_completed.sql.
select {{inbox_columns}}
from {{inbox_events}} e
where e.id = any(array(select f.id from unnest($2::uuid[]) as f (id))) and e.status || '' = 'pending'
    and e.locked_at is null
    and e.scheduled_at <= {{clock}}
    and (
        e.source_offset is null or (
            -- in the order of its index, as in claim.sql
            (
                select true from {{inbox_events}} o
                where o.consumer_group = e.consumer_group and {{line:o}} = {{line:e}} and o.status = 'pending'
                    and o.locked_at is not null and o.source_offset is not null and o.id <> e.id
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
order by e.scheduled_at, e.id
limit $1
