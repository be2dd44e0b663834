update {{inbox_events}} as e
set status = 'completed', completed_at = {{clock}}, updated_at = {{clock}}, locked_at = null, locked_by = null
where e.id in (select j.value from json_each(?1) j) and +e.status = 'pending' and e.locked_by = ?2
returning id
