with heads as (
    -- the oldest pending message of each key of a partition (of the partition itself, without a key); one that is claimed comes
    -- before all others, and so stands for its whole key
    (
        select distinct on (e.consumer_group, e.source_topic, e.source_partition, e.partition_key, e.raw_key) e.id
        from {{inbox_events}} e
        where e.status = 'pending' and e.source_offset is not null
            and (cardinality($3::text[]) = 0 or e.consumer_group = any($3::text[]))
        order by e.consumer_group, e.source_topic, e.source_partition, e.partition_key, e.raw_key,
            e.locked_at is null, e.source_offset
    )
    union all
    select e.id from {{inbox_events}} e
    where e.status = 'pending' and e.source_offset is null
        and (cardinality($3::text[]) = 0 or e.consumer_group = any($3::text[]))
)
select {{inbox_columns}}
from {{inbox_events}} e
join heads h on h.id = e.id
where e.status = 'pending' and e.locked_at is null and e.scheduled_at <= {{statement_clock}}
    and (cardinality($2::text[]) = 0 or e.source = any($2::text[]))
order by e.scheduled_at, e.id
limit $1
