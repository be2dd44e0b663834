-- The concatenation keeps the planner off the partial indexes of pending rows, which are full of what was just completed: the primary
-- key finds these rows at once.
update {{inbox_events}} e
set status = 'completed', completed_at = {{clock}}, updated_at = {{clock}}, locked_at = null,
    locked_by = null
where e.id = any($1::uuid[]) and e.status || '' = 'pending'
