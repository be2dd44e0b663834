update {{outbox_events}} e
set status = 'completed', completed_at = {{clock}}, updated_at = {{clock}}, locked_at = null,
    locked_by = null, held = false, head = false, hold_until = null
where e.id = any(array(select f.id from unnest($1::uuid[]) as f (id))) and e.status || '' = 'pending' and e.locked_by = $2
returning e.id
