-- Rows that were there already, locked, each with the microseconds until its next attempt.
select
    {{inbox_columns}},
    case when isfinite(e.scheduled_at)
        then greatest(extract(epoch from e.scheduled_at - {{clock}}) * 1000000, 0)::bigint
        else 0
    end
from {{inbox_events}} e
join unnest($1::text[], $2::text[]) as n (message_id, consumer_group)
    on e.message_id = n.message_id and e.consumer_group = n.consumer_group
order by e.message_id, e.consumer_group
for update of e
