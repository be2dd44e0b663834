-- What may be claimed: of each key the first event in line and the first of those that were scheduled, among $1 that are due of each sort,
-- however many are pending. Whether it is the first of its key in the table as well is for the claim to see. `more`: where more events are due
-- than were looked at. A filter is a `case`: by a condition with `or` the planner expects no row, and sorts all that are due.
with ready as materialized (
    select e.id, e.seq, e.topic, e.partition_key, null::timestamptz as scheduled
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and not e.head and (e.held or not e.deferred) and e.partition_key is not null
        and case when cardinality($2::text[]) = 0 then true else e.topic = any($2::text[]) end
        and case when cardinality($3::text[]) = 0 then true else e.aggregate_type = any($3::text[]) end
        and case when cardinality($4::uuid[]) = 0 then true else e.aggregate_id = any($4::uuid[]) end
    order by e.seq
    limit $1
),
keyless as materialized (
    select e.id, e.seq, e.topic, e.partition_key, null::timestamptz as scheduled
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and not e.head and (e.held or not e.deferred) and e.partition_key is null
        and case when cardinality($2::text[]) = 0 then true else e.topic = any($2::text[]) end
        and case when cardinality($3::text[]) = 0 then true else e.aggregate_type = any($3::text[]) end
        and case when cardinality($4::uuid[]) = 0 then true else e.aggregate_id = any($4::uuid[]) end
    order by e.seq
    limit $1
),
heads as materialized (
    select e.id, e.seq, e.topic, e.partition_key, null::timestamptz as scheduled
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and e.head
        and case when e.head then e.hold_until else e.scheduled_at end <= {{clock}}
        and case when cardinality($2::text[]) = 0 then true else e.topic = any($2::text[]) end
        and case when cardinality($3::text[]) = 0 then true else e.aggregate_type = any($3::text[]) end
        and case when cardinality($4::uuid[]) = 0 then true else e.aggregate_id = any($4::uuid[]) end
    order by case when e.head then e.hold_until else e.scheduled_at end
    limit $1
),
scheduled as materialized (
    select e.id, e.seq, e.topic, e.partition_key, case when e.last_error is null then e.scheduled_at end as scheduled
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and not e.head and e.deferred and not e.held and e.partition_key is not null
        and case when e.head then e.hold_until else e.scheduled_at end <= {{clock}}
        and case when cardinality($2::text[]) = 0 then true else e.topic = any($2::text[]) end
        and case when cardinality($3::text[]) = 0 then true else e.aggregate_type = any($3::text[]) end
        and case when cardinality($4::uuid[]) = 0 then true else e.aggregate_id = any($4::uuid[]) end
    order by case when e.head then e.hold_until else e.scheduled_at end
    limit $1
),
later as materialized (
    select e.id, e.seq, e.topic, e.partition_key, null::timestamptz as scheduled
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and not e.head and e.deferred and not e.held and e.partition_key is null
        and e.scheduled_at <= {{clock}}
        and case when cardinality($2::text[]) = 0 then true else e.topic = any($2::text[]) end
        and case when cardinality($3::text[]) = 0 then true else e.aggregate_type = any($3::text[]) end
        and case when cardinality($4::uuid[]) = 0 then true else e.aggregate_id = any($4::uuid[]) end
    order by e.scheduled_at
    limit $1
),
-- a claim that is older than the time to live ($5) is none; of null, each is one
stale as materialized (
    select
        e.id, e.seq, e.topic, e.partition_key,
        case when e.deferred and not e.held and e.last_error is null then e.scheduled_at end as scheduled
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is not null and e.locked_at < {{clock}} - $5::interval
        and case
            when e.head then e.hold_until <= {{clock}}
            when e.deferred and not e.held then e.scheduled_at <= {{clock}}
            else true
        end
        and case when cardinality($2::text[]) = 0 then true else e.topic = any($2::text[]) end
        and case when cardinality($3::text[]) = 0 then true else e.aggregate_type = any($3::text[]) end
        and case when cardinality($4::uuid[]) = 0 then true else e.aggregate_id = any($4::uuid[]) end
    order by e.topic, e.partition_key, e.locked_at
    limit $1
),
found as (
    select * from ready
    union all
    select * from keyless
    union all
    select * from heads
    union all
    select * from scheduled
    union all
    select * from later
    union all
    select * from stale
)
select
    f.id,
    array_remove(
        array[
            case
                when $1 in ((select count(*) from ready), (select count(*) from heads), (select count(*) from scheduled)) then 'line'
            end,
            case when (select count(*) from scheduled) = $1 then 'scheduled' end
        ],
        null
    ) as more,
    (select {{outbox_is_large}}) as is_large
from (
    select distinct on (topic, partition_key, scheduled is null, case when partition_key is null then id end) id
    from found
    order by topic, partition_key, scheduled is null, case when partition_key is null then id end, scheduled, seq
) f
