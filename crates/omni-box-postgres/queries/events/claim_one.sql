update {{events}} e
set locked_at = {{clock}}, locked_by = $2, updated_at = {{clock}}
where e.id = $1 and e.status = 'pending' and (e.locked_by is null or e.locked_by = $2)
