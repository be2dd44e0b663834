update {{events}} e
set locked_at = null, locked_by = null, updated_at = {{clock}}
where e.status = 'pending' and e.locked_at < {{clock}} - $1::interval
