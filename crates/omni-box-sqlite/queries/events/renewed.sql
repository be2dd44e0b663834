-- Failed events that were stored anew are done.
update {{events}} as e
set status = 'completed', completed_at = {{clock}}, locked_at = null, locked_by = null, updated_at = {{clock}}
where e.id in (select j.value from json_each(?1) j) and +e.status = 'failed'
