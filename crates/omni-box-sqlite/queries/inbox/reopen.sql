-- A message that was given up and was sent again: pending, with all its attempts, at its new place.
update {{inbox_events}} as e
set
    status = 'pending',
    attempts_made = 0,
    scheduled_at = {{clock}},
    source_topic = ?3,
    source_partition = ?4,
    source_offset = ?5,
    locked_at = null,
    locked_by = null,
    updated_at = {{clock}}
where e.message_id = ?1 and e.consumer_group = ?2 and +e.status = 'failed'
