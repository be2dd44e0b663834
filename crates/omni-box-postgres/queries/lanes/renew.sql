-- Renews what an owner holds, and counts the relays alive. Lanes that another session has locked are left out: they cost no other lane. A
-- settlement of the owner's own locks FOR KEY SHARE, which this lock goes along with.
with mine as materialized (
    select l.lane from {{outbox_lanes}} l where l.owner = $1 order by l.lane for no key update skip locked
),
renewed as (
    update {{outbox_lanes}} l set leased_until = {{clock}} + $2
    from mine m where l.lane = m.lane
    returning l.lane, l.epoch
)
select
    (select count(*) from {{outbox_relays}} r where r.alive_until >= {{clock}}) as alive,
    (select count(*) from {{outbox_lanes}}) as lanes,
    (select count(*) from {{outbox_lanes}} l where l.owner = $1) as owned,
    array(select r.lane from renewed r order by r.lane) as held,
    array(select r.epoch from renewed r order by r.lane) as epochs
