-- Stores events of which none has an idempotency key, in the order of the arrays: an insert that may meet a conflict marks each row twice.
-- Wakes relays as outbox/create.sql does.
with stored as (
    insert into {{outbox_events}} (
        id, event_type, aggregate_type, aggregate_id, topic, partition_key, payload, headers, trace_id, correlation_id,
        causation_id, schema_version, max_attempts, scheduled_at, created_at, updated_at
    )
    select
        n.id, n.event_type, n.aggregate_type, n.aggregate_id, n.topic, n.partition_key, n.payload::json,
        n.headers::jsonb, n.trace_id, n.correlation_id, n.causation_id, n.schema_version, n.max_attempts,
        coalesce(n.scheduled_at, t.now), t.now, t.now
    from (select {{clock}} as now) t cross join unnest(
        $1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::text[], $13::int[], $14::timestamptz[]
    ) with ordinality as n (
        id, event_type, aggregate_type, aggregate_id, topic, partition_key, payload, headers, trace_id, correlation_id,
        causation_id, schema_version, max_attempts, scheduled_at, position
    )
    order by n.position
    returning id, lane, scheduled_at, created_at
),
woken as materialized (
    -- an aggregate, so that the join below cannot lose rows
    select count(pg_notify($15, '')) as times
    from (
        select from {{outbox_lanes}} l
        where $15::text is not null and l.idle and l.leased_until > {{clock}} and l.lane in (select s.lane from stored s)
        limit 1
    ) sleeping
)
select s.id, s.scheduled_at, s.created_at from stored s cross join woken
