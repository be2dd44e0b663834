-- What a relay is woken for: an event that is new or was requeued, and a lane that was given back.
select
    coalesce((select max(e.seq) from {{outbox_events}} e), 0) as newest,
    (select count(*) from {{outbox_lanes}} l where l.owner is null) as free
