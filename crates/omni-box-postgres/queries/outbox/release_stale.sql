update {{outbox_events}} e
set locked_at = null, locked_by = null, updated_at = clock_timestamp()
where e.status = 'pending' and e.locked_at < clock_timestamp() - $1::interval
