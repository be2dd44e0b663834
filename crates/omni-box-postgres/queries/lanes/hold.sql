-- Events that were not published. kind: 0 tried again after `delay`, 1 when an operator says so, 2 never. An event without a
-- key is a head too: it waits, but no event waits behind it. Attempts must be as they were read: a repeat counts nothing.
update {{outbox_events}} e
set
    status = case when n.kind = 2 then 'failed' else 'pending' end,
    attempts_made = greatest(least(e.attempts_made::bigint + n.charge, e.max_attempts), 0)::int,
    last_error = n.error,
    held = n.kind <> 2,
    head = n.kind <> 2,
    hold_until = case when n.kind = 0 then {{clock}} + n.delay end,
    scheduled_at = case when n.kind = 0 then {{clock}} + n.delay else e.scheduled_at end,
    locked_at = null,
    locked_by = null,
    updated_at = {{clock}}
from unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::interval[], $6::int[])
    as n (id, charge, error, kind, delay, attempts_made)
where e.id = n.id and e.status = 'pending'
    and greatest(least(e.attempts_made, e.max_attempts), 0) = n.attempts_made and e.lane = any($7::smallint[])
