-- What a change of the mode would pull from under a relay.
select
    (select count(*) from {{outbox_lanes}} l where l.leased_until > {{clock}}),
    (select count(*) from {{outbox_events}} e where e.status = 'pending' and e.locked_at is not null)
