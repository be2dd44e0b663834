-- In the mode `lanes`: due events without a claim, oldest first. Of each key it is the oldest pending event, and none while one of the key is
-- claimed. An event scheduled for later is in line once it is due. What is pending is looked at, and nothing that is completed.
with pending as materialized (
    select e.seq, e.topic, e.partition_key, e.locked_at, e.held, e.head, e.deferred, e.hold_until, e.scheduled_at, e.last_error
    from {{outbox_lanes}} l cross join {{outbox_events}} e on e.lane = l.lane
    where e.status = 'pending' and e.held = 0 and e.deferred = 0
    union all
    select e.seq, e.topic, e.partition_key, e.locked_at, e.held, e.head, e.deferred, e.hold_until, e.scheduled_at, e.last_error
    from {{outbox_lanes}} l cross join {{outbox_events}} e on e.lane = l.lane
    where e.status = 'pending' and e.held = 0 and e.deferred = 1
    union all
    select e.seq, e.topic, e.partition_key, e.locked_at, e.held, e.head, e.deferred, e.hold_until, e.scheduled_at, e.last_error
    from {{outbox_lanes}} l cross join {{outbox_events}} e on e.lane = l.lane
    where e.status = 'pending' and e.held = 1 and e.head = 1
    union all
    select e.seq, e.topic, e.partition_key, e.locked_at, e.held, e.head, e.deferred, e.hold_until, e.scheduled_at, e.last_error
    from {{outbox_lanes}} l cross join {{outbox_events}} e on e.lane = l.lane
    where e.status = 'pending' and e.held = 1 and e.head = 0
),
placed as (
    select
        p.*,
        max(p.locked_at is not null) over k as is_claimed,
        min(case when p.held = 1 or p.deferred = 0 or p.last_error is not null or p.scheduled_at <= {{clock}} then p.seq end) over k as first
    from pending p
    window k as (partition by p.topic, p.partition_key)
)
select {{outbox_columns}}
from placed p cross join {{outbox_events}} e on e.seq = p.seq
where p.locked_at is null
    and case
        when p.head = 1 then p.hold_until <= {{clock}}
        when p.deferred = 1 and p.held = 0 then p.scheduled_at <= {{clock}}
        else true
    end
    and (?2 = '[]' or e.topic in (select j.value from json_each(?2) j))
    and (?3 = '[]' or e.aggregate_type in (select j.value from json_each(?3) j))
    and (?4 = '[]' or e.aggregate_id in (select j.value from json_each(?4) j))
    and (p.partition_key is null or (p.is_claimed = 0 and coalesce(p.first >= p.seq, true)))
order by p.seq
limit ?1
