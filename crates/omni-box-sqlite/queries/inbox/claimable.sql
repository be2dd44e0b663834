-- What may be claimed of the group ?2, oldest first: the first message of each line among the oldest that are due, ?1 of each sort, however
-- many are pending. A claim older than the time to live (?4) counts as none; of null, each is one. `is_full`: more messages with a line are
-- due than were looked at.
with ready as materialized (
    select e.id
    from {{inbox_events}} e
    where e.status = 'pending' and e.locked_at is null and e.source_offset is not null
        and e.consumer_group = ?2 and e.scheduled_at <= {{clock}}
        and (?3 = '[]' or e.source in (select j.value from json_each(?3) j))
    order by e.scheduled_at, e.id
    limit ?1
),
found as materialized (
    select r.id from ready r
    union all
    -- each without a place in a partition is a line of its own
    select k.id from (
        select e.id
        from {{inbox_events}} e
        where e.status = 'pending' and e.locked_at is null and e.source_offset is null
            and e.consumer_group = ?2 and e.scheduled_at <= {{clock}}
            and (?3 = '[]' or e.source in (select j.value from json_each(?3) j))
        order by e.scheduled_at, e.id
        limit ?1
    ) k
    union all
    select s.id from (
        select e.id
        from {{inbox_events}} e
        where e.status = 'pending' and e.locked_at is not null and e.locked_at < {{clock}} - ?4
            and e.consumer_group = ?2 and +e.scheduled_at <= {{clock}}
            and (?3 = '[]' or e.source in (select j.value from json_each(?3) j))
        limit ?1
    ) s
),
heads as (
    select e.id, e.scheduled_at
    from found f cross join {{inbox_events}} e on e.id = f.id
    where e.source_offset is null or (
        not exists (
            select 1 from {{inbox_events}} o
            where o.consumer_group = e.consumer_group and {{line:o}} = {{line:e}} and o.status = 'pending'
                and o.locked_at is not null and (?4 is null or o.locked_at >= {{clock}} - ?4)
                and +o.source_offset is not null and o.id <> e.id
        )
        and (
            select o.id from {{inbox_events}} o
            where o.consumer_group = e.consumer_group and {{line:o}} = {{line:e}} and o.status = 'pending'
                and o.source_offset is not null
            order by o.source_offset, o.id
            limit 1
        ) = e.id
    )
)
select h.id, h.scheduled_at, (select count(*) from ready) = ?1 as is_full
from (select 1) n left join heads h
order by h.scheduled_at, h.id
