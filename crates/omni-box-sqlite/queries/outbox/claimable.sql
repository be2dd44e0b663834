-- What may be claimed, oldest first: the first event of each key among the oldest that are due, ?1 of each sort, however many are pending. A
-- claim older than the time to live (?5) counts as none; of null, each is one. Of what was scheduled for a key the first by its time stands for
-- all, and its place decides. `more`: whether more events in line, and more that were scheduled, may be due than were looked at.
with ready as materialized (
    select e.seq
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and e.head = 0 and (e.held = 1 or e.deferred = 0) and e.partition_key is not null
        and (?2 = '[]' or e.topic in (select j.value from json_each(?2) j))
        and (?3 = '[]' or e.aggregate_type in (select j.value from json_each(?3) j))
        and (?4 = '[]' or e.aggregate_id in (select j.value from json_each(?4) j))
    order by e.seq
    limit ?1
),
keyless as materialized (
    select e.seq
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and e.head = 0 and (e.held = 1 or e.deferred = 0) and e.partition_key is null
        and (?2 = '[]' or e.topic in (select j.value from json_each(?2) j))
        and (?3 = '[]' or e.aggregate_type in (select j.value from json_each(?3) j))
        and (?4 = '[]' or e.aggregate_id in (select j.value from json_each(?4) j))
    order by e.seq
    limit ?1
),
heads as materialized (
    select e.seq
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and e.head = 1 and e.hold_until <= {{clock}}
        and (?2 = '[]' or e.topic in (select j.value from json_each(?2) j))
        and (?3 = '[]' or e.aggregate_type in (select j.value from json_each(?3) j))
        and (?4 = '[]' or e.aggregate_id in (select j.value from json_each(?4) j))
    order by e.hold_until
    limit ?1
),
scheduled as materialized (
    select e.seq
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and e.head = 0 and e.deferred = 1 and e.held = 0 and e.scheduled_at <= {{clock}}
        and e.partition_key is not null
        and (?2 = '[]' or e.topic in (select j.value from json_each(?2) j))
        and (?3 = '[]' or e.aggregate_type in (select j.value from json_each(?3) j))
        and (?4 = '[]' or e.aggregate_id in (select j.value from json_each(?4) j))
    order by e.scheduled_at
    limit ?1
),
later as materialized (
    select e.seq
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and e.head = 0 and e.deferred = 1 and e.held = 0 and e.scheduled_at <= {{clock}}
        and e.partition_key is null
        and (?2 = '[]' or e.topic in (select j.value from json_each(?2) j))
        and (?3 = '[]' or e.aggregate_type in (select j.value from json_each(?3) j))
        and (?4 = '[]' or e.aggregate_id in (select j.value from json_each(?4) j))
    order by e.scheduled_at
    limit ?1
),
stale as materialized (
    select e.seq
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is not null and e.locked_at < {{clock}} - ?5
        and case
            when e.head = 1 then e.hold_until <= {{clock}}
            when e.deferred = 1 and e.held = 0 then e.scheduled_at <= {{clock}}
            else true
        end
        and (?2 = '[]' or e.topic in (select j.value from json_each(?2) j))
        and (?3 = '[]' or e.aggregate_type in (select j.value from json_each(?3) j))
        and (?4 = '[]' or e.aggregate_id in (select j.value from json_each(?4) j))
    limit ?1
),
found as materialized (
    select r.seq from ready r
    union all
    select k.seq from keyless k
    union all
    select h.seq from heads h
    union all
    select s.seq from scheduled s
    union all
    select l.seq from later l
    union all
    select c.seq from stale c
),
free as (
    select e.seq
    from found f cross join {{outbox_events}} e on e.seq = f.seq
    where e.partition_key is null or (
        not exists (
            select 1 from {{outbox_events}} o
            where o.topic = e.topic and o.partition_key = e.partition_key and o.status = 'pending'
                and o.locked_at is not null and (?5 is null or o.locked_at >= {{clock}} - ?5) and o.seq <> e.seq
        )
        and coalesce((
            select o.seq from {{outbox_events}} o
            where o.topic = e.topic and o.partition_key = e.partition_key and o.partition_key is not null and o.status = 'pending'
                and (o.held = 1 or o.deferred = 0 or o.last_error is not null)
            order by o.topic, o.partition_key, o.seq
            limit 1
        ) >= e.seq, true)
        and coalesce((
            select o.seq = e.seq or o.seq > e.seq and not (e.deferred = 1 and e.held = 0 and e.last_error is null)
            from {{outbox_events}} o
            where o.topic = e.topic and o.partition_key = e.partition_key and o.partition_key is not null and o.status = 'pending'
                and o.deferred = 1 and o.held = 0 and o.last_error is null and o.scheduled_at <= {{clock}}
            order by o.topic, o.partition_key, o.scheduled_at, o.seq
            limit 1
        ), true)
    )
)
select
    f.seq,
    ?1 in ((select count(*) from ready), (select count(*) from heads), (select count(*) from scheduled)),
    (select count(*) from scheduled) = ?1
from (select 1) n left join free f
order by f.seq
