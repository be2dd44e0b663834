-- A message that failed. kind (?4): 0 tried again after a delay (?5), 1 when an operator says so (in the year 9999), 2 never. With a
-- token (?6) only if it has claimed the message.
update {{inbox_events}} as e
set
    status = case when ?4 = 2 then 'failed' else 'pending' end,
    attempts_made = max(min(e.attempts_made + ?2, e.max_attempts), 0),
    last_error = ?3,
    scheduled_at = case ?4
        when 0 then {{clock}} + ?5
        when 1 then 253402214400000000
        else e.scheduled_at
    end,
    locked_at = null,
    locked_by = null,
    updated_at = {{clock}}
where e.id = ?1 and +e.status = 'pending' and (?6 is null or e.locked_by = ?6)
