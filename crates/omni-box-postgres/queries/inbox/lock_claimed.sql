-- Rows that a worker has claimed, locked, each with the microseconds until its next attempt. What was read with the claim is not read again.
select
    e.id,
    {{lifecycle_columns}},
    case when isfinite(e.scheduled_at)
        then greatest(extract(epoch from e.scheduled_at - {{clock}}) * 1000000, 0)::bigint
        else 0
    end
from {{inbox_events}} e
where e.id = any(array(select f.id from unnest($1::uuid[]) as f (id)))
order by e.message_id, e.consumer_group
for update of e
