-- The same by key, for what lies behind more events of a few keys than `claimable` looks at: the first event in line of each of ?1 keys that come
-- after (?6, ?7), whether it may be claimed, and its key.
with recursive fronts (seq, place) as (
    select (
        select o.seq from {{outbox_events}} o
        where o.status = 'pending' and (o.held = 1 or o.deferred = 0 or o.last_error is not null) and o.partition_key is not null
            and (o.topic, o.partition_key) > (?6, ?7)
        order by o.topic, o.partition_key, o.seq
        limit 1
    ), 1
    union all
    -- by one comparison of both columns SQLite would look for the topic alone
    select coalesce(
        (
            select o.seq from {{outbox_events}} o
            where o.status = 'pending' and (o.held = 1 or o.deferred = 0 or o.last_error is not null) and o.partition_key is not null
                and o.topic = e.topic and o.partition_key > e.partition_key
            order by o.topic, o.partition_key, o.seq
            limit 1
        ),
        (
            select o.seq from {{outbox_events}} o
            where o.status = 'pending' and (o.held = 1 or o.deferred = 0 or o.last_error is not null) and o.partition_key is not null
                and o.topic > e.topic
            order by o.topic, o.partition_key, o.seq
            limit 1
        )
    ), f.place + 1
    from fronts f cross join {{outbox_events}} e on e.seq = f.seq
    where f.place < ?1
)
select
    e.seq,
    (
        (e.locked_at is null or coalesce(e.locked_at < {{clock}} - ?5, false))
        and case
            when e.head = 1 then e.hold_until <= {{clock}}
            when e.deferred = 1 and e.held = 0 then e.scheduled_at <= {{clock}}
            else true
        end
        and (?2 = '[]' or e.topic in (select j.value from json_each(?2) j))
        and (?3 = '[]' or e.aggregate_type in (select j.value from json_each(?3) j))
        and (?4 = '[]' or e.aggregate_id in (select j.value from json_each(?4) j))
        and not exists (
            select 1 from {{outbox_events}} o
            where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                and o.locked_at is not null and (?5 is null or o.locked_at >= {{clock}} - ?5) and o.seq <> e.seq
        )
        and coalesce((
            select o.seq = e.seq or o.seq > e.seq and not (e.deferred = 1 and e.held = 0 and e.last_error is null)
            from {{outbox_events}} o
            where o.topic = e.topic and o.partition_key = e.partition_key and o.partition_key is not null and o.status = 'pending'
                and o.deferred = 1 and o.held = 0 and o.last_error is null and o.scheduled_at <= {{clock}}
            order by o.topic, o.partition_key, o.scheduled_at, o.seq
            limit 1
        ), true)
    ) as is_free,
    e.topic,
    e.partition_key
from fronts f cross join {{outbox_events}} e on e.seq = f.seq
order by f.place
