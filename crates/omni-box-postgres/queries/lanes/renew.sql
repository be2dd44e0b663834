-- Renews what an owner holds, and counts the relays alive. Lanes are locked in order, here as in a settlement.
with mine as materialized (
    select l.lane from {{outbox_lanes}} l where l.owner = $1 order by l.lane for no key update
),
renewed as (
    update {{outbox_lanes}} l set leased_until = {{clock}} + $2
    from mine m where l.lane = m.lane
    returning l.lane, l.epoch
)
select
    (select count(*) from {{outbox_relays}} r where r.alive_until >= {{clock}}) as alive,
    (select count(*) from {{outbox_lanes}}) as lanes,
    array(select r.lane from renewed r order by r.lane) as held,
    array(select r.epoch from renewed r order by r.lane) as epochs
