-- An event that was not published. kind (?4): 0 tried again after a delay (?5), 1 when an operator says so, 2 never. An event without
-- a key is a head too: it waits, but nothing waits behind it. Attempts must be as they were read (?6): a repeat counts nothing.
update {{outbox_events}} as e
set
    status = case when ?4 = 2 then 'failed' else 'pending' end,
    attempts_made = max(min(e.attempts_made + ?2, e.max_attempts), 0),
    last_error = ?3,
    held = ?4 <> 2,
    head = ?4 <> 2,
    hold_until = case when ?4 = 0 then {{clock}} + ?5 end,
    scheduled_at = case when ?4 = 0 then {{clock}} + ?5 else e.scheduled_at end,
    locked_at = null,
    locked_by = null,
    updated_at = {{clock}}
where e.id = ?1 and +e.status = 'pending' and max(min(e.attempts_made, e.max_attempts), 0) = ?6
    and +e.lane in (select j.value from json_each(?7) j)
