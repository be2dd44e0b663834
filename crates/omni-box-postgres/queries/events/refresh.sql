update {{events}} e
set locked_at = {{clock}}, updated_at = {{clock}}
where e.id = any($1::uuid[]) and e.status = 'pending' and e.locked_by = $2
returning e.id
