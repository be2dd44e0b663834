-- The same for events that were scheduled for later and are due: they join at the end of their key, and from then on are
-- events like any other (not deferred), so that `seq` alone orders them.
update {{outbox_events}} e
set held = true, seq = default, scheduled_at = e.created_at, updated_at = {{clock}}
where e.id = any($1::uuid[]) and e.lane = any($2::smallint[]) and e.status = 'pending' and not e.held and e.deferred
    and (
        select count(*) from {{outbox_events}} h
        where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
            and h.aside = 'head'
    ) > 0
