-- Who has renewed in time stays; who comes needs all others to handle the group's messages in its way. What is long over goes.
with gone as (
    delete from {{inbox_members}} m
    where m.consumer_group = $1 and m.member <> $2 and m.alive_until < {{clock}} - interval '1 hour'
),
joined as (
    insert into {{inbox_members}} as m (member, consumer_group, handling, alive_until)
    select $2, $1, $3, {{clock}} + $4::interval
    where exists (select from {{inbox_members}} o where o.member = $2 and o.alive_until > {{clock}})
        or not exists (
            select from {{inbox_members}} o
            where o.consumer_group = $1 and o.member <> $2 and o.handling <> $3 and o.alive_until > {{clock}}
        )
    on conflict (member) do update set alive_until = excluded.alive_until
    returning m.member
)
select exists (select from joined)
