-- Events wait behind the head of their key, if it still has one.
update {{outbox_events}} e
set held = true, updated_at = {{clock}}
where e.id = any($1::uuid[]) and e.lane = any($2::smallint[]) and e.status = 'pending' and not e.held and not e.deferred
    and (
        select count(*) from {{outbox_events}} h
        where h.lane = e.lane and h.topic = e.topic and h.partition_key = e.partition_key
            and h.aside = 'head'
    ) > 0
