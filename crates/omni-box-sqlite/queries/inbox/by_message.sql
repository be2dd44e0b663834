-- The row of a message, with the microseconds until its next attempt.
select {{inbox_columns}}, max(e.scheduled_at - {{clock}}, 0)
from {{inbox_events}} e where e.message_id = ?1 and e.consumer_group = ?2
