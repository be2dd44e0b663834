-- By primary key: see the concatenation in inbox/settle_completed.sql.
-- The same as complete.sql, under lane locks that this transaction has already.
update {{outbox_events}} e
set status = 'completed', completed_at = {{clock}}, updated_at = {{clock}}, held = false, head = false,
    hold_until = null, released = false, locked_at = null, locked_by = null
where e.id = any(array(select f.id from unnest($1::uuid[]) as f (id))) and e.status || '' = 'pending' and e.lane = any($2::smallint[])
