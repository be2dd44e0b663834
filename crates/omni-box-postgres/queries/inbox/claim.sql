with heads as (
    -- the oldest pending message of each key of a partition (of the partition itself, without a key); one that is claimed comes
    -- before all others, and so stands for its whole key
    (
        select distinct on (e.consumer_group, e.source_topic, e.source_partition, e.partition_key, e.raw_key)
            e.id, coalesce(e.locked_at >= {{clock}} - $4::interval, false) as is_claimed
        from {{inbox_events}} e
        where e.status = 'pending' and e.source_offset is not null
            and (cardinality($5::text[]) = 0 or e.consumer_group = any($5::text[]))
        order by e.consumer_group, e.source_topic, e.source_partition, e.partition_key, e.raw_key,
            is_claimed desc, e.source_offset
    )
    union all
    select e.id, false from {{inbox_events}} e
    where e.status = 'pending' and e.source_offset is null
        and (cardinality($5::text[]) = 0 or e.consumer_group = any($5::text[]))
),
due as (
    select e.id
    from {{inbox_events}} e
    join heads h on h.id = e.id
    -- the clock is read later here than above: a claim that stood for its key, and has grown too old since, is not a head
    where not h.is_claimed and e.status = 'pending' and (e.locked_at is null or e.locked_at < {{clock}} - $4::interval)
        and e.scheduled_at <= {{clock}}
        and (cardinality($2::text[]) = 0 or e.source = any($2::text[]))
    order by e.scheduled_at, e.id
    limit $1
    for update of e skip locked
),
claimed as (
    update {{inbox_events}} e
    set locked_at = {{clock}}, locked_by = $3, updated_at = {{clock}}
    from due d where e.id = d.id
    returning e.*
)
select {{inbox_columns}} from claimed e order by e.scheduled_at, e.id
