-- At the end of the key. Scheduled when it was created: what was scheduled for later would be compared with a clock.
update {{outbox_events}} e
set
    status = 'pending', attempts_made = 0, seq = default, scheduled_at = e.created_at, held = false, head = false, hold_until = null,
    released = false, locked_at = null, locked_by = null, updated_at = {{clock}}
where e.id = any($1::uuid[]) and e.status || '' = 'failed'
returning e.id
