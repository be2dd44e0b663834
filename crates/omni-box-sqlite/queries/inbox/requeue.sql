update {{inbox_events}} as e
set
    status = 'pending', attempts_made = 0, scheduled_at = {{clock}}, locked_at = null, locked_by = null,
    updated_at = {{clock}}
where e.id in (select j.value from json_each(?1) j) and +e.status = 'failed'
returning id
