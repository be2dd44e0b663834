-- Whether any lane may have something due, and when the next event is that has a time of its own, in microseconds: an idle relay asks no
-- more than this.
select
    exists (
        select 1 from {{outbox_lanes}} l
        where exists (
            select 1 from {{outbox_events}} e
            where e.lane = l.lane and e.status = 'pending' and e.held = 0 and e.deferred = 0
        )
    ) as any_due,
    (
        select min(min(
            coalesce((
                select min(e.scheduled_at) from {{outbox_events}} e
                where e.lane = l.lane and e.status = 'pending' and e.held = 0 and e.deferred = 1
            ), 9223372036854775807),
            coalesce((
                select min(e.hold_until) from {{outbox_events}} e
                where e.lane = l.lane and e.status = 'pending' and e.held = 1 and e.head = 1
            ), 9223372036854775807)
        ))
        from {{outbox_lanes}} l
    ) - {{clock}} as timed_in
