update {{inbox_events}} e
set
    status = 'pending', attempts_made = 0, scheduled_at = {{clock}}, locked_at = null, locked_by = null,
    updated_at = {{clock}}
where e.id = any($1::uuid[]) and e.status || '' = 'failed'
returning e.id
