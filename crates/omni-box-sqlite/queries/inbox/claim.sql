update {{inbox_events}} as e
set locked_at = {{clock}}, locked_by = ?2, updated_at = {{clock}}
where e.id in (select j.value from json_each(?1) j)
