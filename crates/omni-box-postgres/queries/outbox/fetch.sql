-- Due events without a claim, oldest first: of each key its oldest pending event, and none while one of the key is claimed. An event
-- scheduled for later is in line once it is due. In the mode `lanes`: what is pending is looked at, and nothing that is completed.
with pending as materialized (
    select e.*
    from {{outbox_lanes}} l
    cross join lateral (
        select e.id, e.seq, e.topic, e.partition_key, e.locked_at, e.deferred, e.last_error, e.scheduled_at, e.aside, e.hold_until
        from {{outbox_events}} e
        where e.lane = l.lane and e.aside is null and nullif(e.status = 'pending', false) is not null and e.seq > l.read_to
        order by e.seq
    ) e
    -- the planner takes the lanes for one: it expects so many rows else that it compiles the statement
    where abs(l.lane) = l.lane
    union all
    select e.id, e.seq, e.topic, e.partition_key, e.locked_at, e.deferred, e.last_error, e.scheduled_at, e.aside, e.hold_until
    from {{outbox_events}} e
    where e.aside = 'head'
    union all
    select e.id, e.seq, e.topic, e.partition_key, e.locked_at, e.deferred, e.last_error, e.scheduled_at, e.aside, e.hold_until
    from {{outbox_events}} e
    where e.aside = 'follower'
    union all
    select e.id, e.seq, e.topic, e.partition_key, e.locked_at, e.deferred, e.last_error, e.scheduled_at, e.aside, e.hold_until
    from {{outbox_events}} e
    where e.aside = 'released'
    union all
    select e.id, e.seq, e.topic, e.partition_key, e.locked_at, e.deferred, e.last_error, e.scheduled_at, e.aside, e.hold_until
    from {{outbox_events}} e
    where e.aside = 'deferred'
),
placed as (
    select
        p.*,
        bool_or(p.locked_at is not null) over k as is_claimed,
        min(p.seq) filter (
            where p.aside in ('head', 'follower') or not p.deferred or p.last_error is not null
                or p.scheduled_at <= {{statement_clock}}
        ) over k as first
    from pending p
    window k as (partition by p.topic, p.partition_key)
)
select {{outbox_columns}}
from placed p
join {{outbox_events}} e on e.id = p.id
where p.locked_at is null
    and case
        when p.aside = 'head' then p.hold_until <= {{statement_clock}}
        when p.deferred and p.aside is distinct from 'follower' then p.scheduled_at <= {{statement_clock}}
        else true
    end
    and (cardinality($2::text[]) = 0 or e.topic = any($2::text[]))
    and (cardinality($3::text[]) = 0 or e.aggregate_type = any($3::text[]))
    and (cardinality($4::uuid[]) = 0 or e.aggregate_id = any($4::uuid[]))
    and (p.partition_key is null or (not p.is_claimed and (p.first is null or p.first >= p.seq)))
order by p.seq
limit $1
