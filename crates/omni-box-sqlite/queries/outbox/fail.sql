-- A claimed event that failed. kind (?5): 0 tried again after a delay (?6), 1 when an operator says so, 2 never.
update {{outbox_events}} as e
set
    status = case when ?5 = 2 then 'failed' else 'pending' end,
    attempts_made = max(min(e.attempts_made + ?3, e.max_attempts), 0),
    last_error = ?4,
    held = ?5 <> 2,
    head = ?5 <> 2,
    hold_until = case when ?5 = 0 then {{clock}} + ?6 end,
    scheduled_at = case when ?5 = 0 then {{clock}} + ?6 else e.scheduled_at end,
    locked_at = null,
    locked_by = null,
    updated_at = {{clock}}
where e.id = ?1 and +e.status = 'pending' and e.locked_by = ?2
