update {{inbox_events}} e
set
    status = case when $5 = 2 then 'failed' else 'pending' end,
    attempts_made = greatest(least(e.attempts_made::bigint + $3::int, e.max_attempts), 0)::int,
    last_error = $4,
    scheduled_at = case $5
        when 0 then {{clock}} + $6::interval
        when 1 then timestamptz '9999-12-31 00:00:00+00'
        else e.scheduled_at
    end,
    locked_at = null,
    locked_by = null,
    updated_at = {{clock}}
where e.id = $1 and e.status = 'pending' and e.locked_by = $2
