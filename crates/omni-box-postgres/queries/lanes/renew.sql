-- Says that a relay is alive, forgets those that are not, renews what the owner holds, and counts the relays alive. Lanes that another
-- session has locked are left out: they cost no other lane. A settlement of the owner's own locks FOR KEY SHARE, which this lock goes along with.
-- A dead relay that another session has locked is left for next time.
with me as (
    insert into {{outbox_relays}} (owner, worker, alive_until)
    values ($1, $3, {{clock}} + $2)
    on conflict (owner) do update set worker = excluded.worker, alive_until = excluded.alive_until
),
dead as materialized (
    select d.owner from {{outbox_relays}} d
    where d.alive_until < {{clock}} and d.owner <> $1
    for update skip locked
),
forgotten as (
    delete from {{outbox_relays}} r using dead d where r.owner = d.owner
),
mine as materialized (
    select l.lane from {{outbox_lanes}} l where l.owner = $1 order by l.lane for no key update skip locked
),
renewed as (
    update {{outbox_lanes}} l set leased_until = {{clock}} + $2
    from mine m where l.lane = m.lane
    returning l.lane, l.epoch
)
select
    -- what this statement writes it does not see
    1 + (select count(*) from {{outbox_relays}} r where r.alive_until >= {{clock}} and r.owner <> $1) as alive,
    (select count(*) from {{outbox_lanes}}) as lanes,
    (select count(*) from {{outbox_lanes}} l where l.owner = $1) as owned,
    array(select r.lane from renewed r order by r.lane) as held,
    array(select r.epoch from renewed r order by r.lane) as epochs
