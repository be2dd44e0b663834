with heads as (
    -- the oldest pending message of each key of a partition (of the partition itself, without a key), unless one of the key is
    -- claimed: beside min(), SQLite takes the other columns from the same row
    select o.id, min(o.source_offset)
    from {{inbox_events}} o
    where o.status = 'pending' and o.source_offset is not null
        and (?4 = '[]' or o.consumer_group in (select j.value from json_each(?4) j))
    group by o.consumer_group, o.source_topic, o.source_partition, o.partition_key, o.raw_key
    having count(*) filter (where o.locked_at >= {{clock}} - ?3) = 0
    union all
    select o.id, null from {{inbox_events}} o
    where o.status = 'pending' and o.source_offset is null
        and (?4 = '[]' or o.consumer_group in (select j.value from json_each(?4) j))
)
select e.id
from heads h join {{inbox_events}} e on e.id = h.id
where +e.status = 'pending' and (e.locked_at is null or e.locked_at < {{clock}} - ?3) and e.scheduled_at <= {{clock}}
    and (?2 = '[]' or e.source in (select j.value from json_each(?2) j))
order by e.scheduled_at, e.id
limit ?1
