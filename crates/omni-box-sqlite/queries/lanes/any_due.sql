-- Whether any lane may have something due: an idle relay asks no more than this.
select exists (
    select 1 from {{outbox_lanes}} l
    where exists (
            select 1 from {{outbox_events}} e
            where e.lane = l.lane and e.status = 'pending' and e.held = 0 and e.deferred = 0
        )
        or exists (
            select 1 from {{outbox_events}} e
            where e.lane = l.lane and e.status = 'pending' and e.held = 0 and e.deferred = 1 and e.scheduled_at <= {{clock}}
        )
        or exists (
            select 1 from {{outbox_events}} e
            where e.lane = l.lane and e.status = 'pending' and e.held = 1 and e.head = 1 and e.hold_until <= {{clock}}
        )
)
