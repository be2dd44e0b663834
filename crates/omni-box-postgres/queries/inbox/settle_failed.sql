-- By primary key: see the concatenation in inbox/settle_completed.sql.
-- Messages that failed. kind: 0 tried again after `delay`, 1 when an operator says so, 2 never.
update {{inbox_events}} e
set
    status = case when n.kind = 2 then 'failed' else 'pending' end,
    attempts_made = greatest(least(e.attempts_made::bigint + n.charge, e.max_attempts), 0)::int,
    last_error = n.error,
    scheduled_at = case n.kind
        when 0 then {{clock}} + n.delay
        when 1 then timestamptz '9999-12-31 00:00:00+00'
        else e.scheduled_at
    end,
    locked_at = null,
    locked_by = null,
    updated_at = {{clock}}
from unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::interval[]) as n (id, charge, error, kind, delay)
where e.id = n.id and e.id = any(array(select f.id from unnest($1::uuid[]) as f (id)))
    and e.status || '' = 'pending'
