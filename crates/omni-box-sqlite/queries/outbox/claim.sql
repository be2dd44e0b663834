update {{outbox_events}}
set locked_at = {{clock}}, locked_by = ?2, updated_at = {{clock}}
where seq in (select j.value from json_each(?1) j)
