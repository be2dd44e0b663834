update {{events}} e
set locked_at = {{clock}}, updated_at = {{clock}}
where e.id = any(array(select f.id from unnest($1::uuid[]) as f (id))) and e.status || '' = 'pending' and e.locked_by = $2
returning e.id
