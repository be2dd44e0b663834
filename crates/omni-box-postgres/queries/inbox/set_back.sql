-- Messages that this transaction has stored as completed, and leaves for later. By primary key: see the concatenation in
-- inbox/settle_completed.sql.
update {{inbox_events}} e
set status = 'pending', completed_at = null
where e.id = any($1::uuid[]) and e.status || '' = 'completed'
