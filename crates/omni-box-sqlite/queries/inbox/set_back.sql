update {{inbox_events}} as e
set status = 'pending', completed_at = null
where e.id in (select j.value from json_each(?1) j) and +e.status = 'completed'
