-- Who has renewed in time stays; who comes needs all others to handle the group's messages in its way.
insert into {{inbox_members}} (member, consumer_group, handling, alive_until)
select ?2, ?1, ?3, {{clock}} + ?4
where exists (select 1 from {{inbox_members}} o where o.member = ?2 and o.alive_until > {{clock}})
    or not exists (
        select 1 from {{inbox_members}} o
        where o.consumer_group = ?1 and o.member <> ?2 and o.handling <> ?3 and o.alive_until > {{clock}}
    )
on conflict (member) do update set alive_until = excluded.alive_until
