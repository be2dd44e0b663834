-- What may be claimed: the first event of each key among those that are due, $1 of each sort, however many are pending. Whether it
-- is the first of its key in the table as well is for the claim to see. `is_full`: more events with a key are due than were looked at.
with ready as materialized (
    select e.id, e.seq, e.topic, e.partition_key
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and not e.head and (e.held or not e.deferred) and e.partition_key is not null
        and (cardinality($2::text[]) = 0 or e.topic = any($2::text[]))
        and (cardinality($3::text[]) = 0 or e.aggregate_type = any($3::text[]))
        and (cardinality($4::uuid[]) = 0 or e.aggregate_id = any($4::uuid[]))
    order by e.seq
    limit $1
),
keyless as materialized (
    select e.id, e.seq, e.topic, e.partition_key
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and not e.head and (e.held or not e.deferred) and e.partition_key is null
        and (cardinality($2::text[]) = 0 or e.topic = any($2::text[]))
        and (cardinality($3::text[]) = 0 or e.aggregate_type = any($3::text[]))
        and (cardinality($4::uuid[]) = 0 or e.aggregate_id = any($4::uuid[]))
    order by e.seq
    limit $1
),
heads as materialized (
    select e.id, e.seq, e.topic, e.partition_key
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and e.head
        and case when e.head then e.hold_until else e.scheduled_at end <= {{clock}}
        and (cardinality($2::text[]) = 0 or e.topic = any($2::text[]))
        and (cardinality($3::text[]) = 0 or e.aggregate_type = any($3::text[]))
        and (cardinality($4::uuid[]) = 0 or e.aggregate_id = any($4::uuid[]))
    order by case when e.head then e.hold_until else e.scheduled_at end
    limit $1
),
scheduled as materialized (
    select e.id, e.seq, e.topic, e.partition_key
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is null and not e.head and e.deferred and not e.held
        and case when e.head then e.hold_until else e.scheduled_at end <= {{clock}}
        and (cardinality($2::text[]) = 0 or e.topic = any($2::text[]))
        and (cardinality($3::text[]) = 0 or e.aggregate_type = any($3::text[]))
        and (cardinality($4::uuid[]) = 0 or e.aggregate_id = any($4::uuid[]))
    order by case when e.head then e.hold_until else e.scheduled_at end
    limit $1
),
-- a claim that is older than the time to live ($5) is none; of null, each is one
stale as materialized (
    select e.id, e.seq, e.topic, e.partition_key
    from {{outbox_events}} e
    where e.status = 'pending' and e.locked_at is not null and e.locked_at < {{clock}} - $5::interval
        and case
            when e.head then e.hold_until <= {{clock}}
            when e.deferred and not e.held then e.scheduled_at <= {{clock}}
            else true
        end
        and (cardinality($2::text[]) = 0 or e.topic = any($2::text[]))
        and (cardinality($3::text[]) = 0 or e.aggregate_type = any($3::text[]))
        and (cardinality($4::uuid[]) = 0 or e.aggregate_id = any($4::uuid[]))
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
    select * from stale
)
select f.id, (select count(*) from ready) = $1 as is_full, (select {{outbox_is_large}}) as is_large
from (
    select distinct on (topic, partition_key, case when partition_key is null then id end) id
    from found
    order by topic, partition_key, case when partition_key is null then id end, seq
) f
