update {{events}} as e
set locked_at = null, locked_by = null, updated_at = {{clock}}
where e.id in (select j.value from json_each(?1) j) and +e.status = 'pending' and e.locked_by = ?2
returning id
