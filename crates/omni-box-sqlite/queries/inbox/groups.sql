-- The groups that have pending messages: one look-up each.
with recursive groups (name) as (
    select min(o.consumer_group) from {{inbox_events}} o where o.status = 'pending'
    union all
    select (
        select min(o.consumer_group) from {{inbox_events}} o
        where o.status = 'pending' and o.consumer_group > g.name
    )
    from groups g
    where g.name is not null
)
select g.name from groups g where g.name is not null
