-- Messages that this transaction has stored as completed, and leaves for later. By primary key: see the concatenation in
-- inbox/settle_completed.sql.
update {{inbox_events}} e
set status = 'pending', completed_at = null
where e.id = any(array(select f.id from unnest($1::uuid[]) as f (id))) and e.status || '' = 'completed'
