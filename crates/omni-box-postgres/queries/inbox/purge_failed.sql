-- One bounded step of the clean-up of messages that were given up, group by group along their index; see inbox/purge.sql and failed.sql.
with recursive failed (consumer_group) as (
    (
        select e.consumer_group from {{inbox_events}} e
        where e.status = 'failed'
        order by e.consumer_group
        limit 1
    )
    union all
    select (
        select e.consumer_group from {{inbox_events}} e
        where e.status = 'failed' and e.consumer_group > f.consumer_group
        order by e.consumer_group
        limit 1
    )
    from failed f
    where f.consumer_group is not null
)
delete from {{inbox_events}} e
where e.id = any(array(
    select d.id
    from (select f.consumer_group from failed f where length(f.consumer_group) = length(f.consumer_group)) g
    cross join lateral (
        select d.id from {{inbox_events}} d
        where d.consumer_group = g.consumer_group and d.status = 'failed' and d.updated_at < {{statement_clock}} - $1::interval
        order by d.updated_at, d.id
        limit (select $2::bigint)
        for update skip locked
    ) d
    limit (select $2::bigint)
)) and e.status || '' = 'failed'
