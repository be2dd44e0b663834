-- Says that a relay is alive, and forgets those that are not. A relay whose row another one has locked is left for next time.
with me as (
    insert into {{outbox_relays}} (owner, worker, alive_until)
    values ($1, $2, {{clock}} + $3)
    on conflict (owner) do update set worker = excluded.worker, alive_until = excluded.alive_until
)
delete from {{outbox_relays}} r
using (
    select d.owner from {{outbox_relays}} d
    where d.alive_until < {{clock}} and d.owner <> $1
    for update skip locked
) dead
where r.owner = dead.owner
