-- What a change of the mode would pull from under a relay. The lanes stay locked until the mode has changed.
with lanes as materialized (
    select l.leased_until from {{outbox_lanes}} l order by l.lane for update
)
select
    (select count(*) from lanes where leased_until > {{clock}}) as leased,
    (
        select count(*) from {{outbox_events}} e where e.status = 'pending' and e.locked_at is not null
    ) as claimed
