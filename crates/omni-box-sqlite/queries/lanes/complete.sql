-- Pending events of lanes that this transaction knows to be the owner's. By id: the plus keeps the planner off other indexes.
update {{outbox_events}} as e
set status = 'completed', completed_at = {{clock}}, updated_at = {{clock}}, held = 0, head = 0, hold_until = null,
    locked_at = null, locked_by = null
where e.id in (select j.value from json_each(?1) j) and +e.status = 'pending'
    and +e.lane in (select j.value from json_each(?2) j)
