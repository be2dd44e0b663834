-- The groups that have pending messages: one look-up each.
with recursive groups as (
    (
        select e.consumer_group from {{inbox_events}} e where e.status = 'pending' order by e.consumer_group limit 1
    )
    union all
    select n.consumer_group
    from groups g
    cross join lateral (
        select e.consumer_group
        from {{inbox_events}} e
        where e.status = 'pending' and e.consumer_group > g.consumer_group
        order by e.consumer_group
        limit 1
    ) n
)
select g.consumer_group from groups g
