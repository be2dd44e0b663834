-- The same of what was scheduled: the first event by its time of each of $1 keys that come after ($6, $7), whether it may be claimed, and its
-- key.
with recursive fronts as (
    (
        select
            e.id, e.topic, e.partition_key, e.locked_at, e.scheduled_at, e.aggregate_type, e.aggregate_id,
            1 as place
        from {{outbox_events}} e
        where e.status = 'pending' and e.deferred and not e.held and e.last_error is null
            and e.partition_key is not null
            and (e.topic, e.partition_key) > ($6::text, $7::text)
        order by e.topic, e.partition_key, e.scheduled_at, e.seq
        limit 1
    )
    union all
    select n.*, f.place + 1
    from fronts f
    cross join lateral (
        select
            e.id, e.topic, e.partition_key, e.locked_at, e.scheduled_at, e.aggregate_type, e.aggregate_id
        from {{outbox_events}} e
        where e.status = 'pending' and e.deferred and not e.held and e.last_error is null
            and e.partition_key is not null
            and (e.topic, e.partition_key) > (f.topic, f.partition_key)
        order by e.topic, e.partition_key, e.scheduled_at, e.seq
        limit 1
    ) n
    where f.place < $1
)
select
    e.id,
    (
        (e.locked_at is null or coalesce(e.locked_at < {{clock}} - $5::interval, false))
        and e.scheduled_at <= {{clock}}
        and (cardinality($2::text[]) = 0 or e.topic = any($2::text[]))
        and (cardinality($3::text[]) = 0 or e.aggregate_type = any($3::text[]))
        and (cardinality($4::uuid[]) = 0 or e.aggregate_id = any($4::uuid[]))
    ) is true as is_free,
    e.topic,
    e.partition_key
from fronts e
order by e.place
