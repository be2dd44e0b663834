-- One look at the outbox, counted to a limit. Each look-up goes along its index. What is due longest in a lane is its lowest seq, or its
-- earliest schedule. SQLite knows no estimate, and no transactions of others.
with due as materialized (
    select
        l.owner is null or l.leased_until is null or l.leased_until < {{clock}} as unowned,
        (
            select e.created_at from {{outbox_events}} e
            where e.lane = l.lane and e.status = 'pending' and e.held = 0 and e.deferred = 0
            order by e.seq
            limit 1
        ) as hot_since,
        (
            select e.scheduled_at from {{outbox_events}} e
            where e.lane = l.lane and e.status = 'pending' and e.held = 0 and e.deferred = 1 and e.scheduled_at <= {{clock}}
            order by e.scheduled_at
            limit 1
        ) as deferred_since,
        (
            select count(*) from (
                select 1 from {{outbox_events}} e
                where e.lane = l.lane and e.status = 'pending' and e.held = 0 and e.deferred = 1
                    and e.scheduled_at <= {{clock}}
                order by e.scheduled_at
                limit 601
            )
        ) as deferred
    from {{outbox_lanes}} l
),
held as materialized (
    select
        count(x.hold_until) as retrying,
        count(*) - count(x.hold_until) as parked,
        count(*) > 10000 as is_capped,
        min(x.created_at) as since
    from (
        select e.hold_until, e.created_at from {{outbox_events}} e
        where e.status = 'pending' and e.held = 1 and e.head = 1
        order by e.lane, e.hold_until
        limit 10001
    ) x
)
select
    case when (select c.delivery_mode from {{omni_box_control}} c) = 'lanes' then d.unowned end,
    {{clock}} - min(coalesce(d.hot_since, d.deferred_since), coalesce(d.deferred_since, d.hot_since)),
    d.deferred + (
        select count(*) from (
            select 1 from {{outbox_events}} e
            where e.status = 'pending' and e.held = 0 and e.deferred = 0
            order by e.lane, e.seq
            limit 10001
        )
    ),
    d.is_capped,
    0,
    h.retrying,
    h.parked,
    h.is_capped,
    {{clock}} - h.since,
    (
        select count(*) from (
            select 1 from {{outbox_events}} e where e.status = 'failed' order by e.updated_at limit 10001
        )
    ),
    null
from (
    select
        sum(unowned) as unowned,
        min(hot_since) as hot_since,
        min(deferred_since) as deferred_since,
        sum(deferred) as deferred,
        max(deferred > 600) as is_capped
    from due
) d
cross join held h
