-- Stores messages, as completed ($22) if what they do is written in the same transaction; one that is there already is left out. Sorted, so that two consumers of the same messages do not deadlock.
insert into {{inbox_events}} (
    id, message_id, consumer_group, event_type, source, payload, headers, trace_id, correlation_id, causation_id,
    idempotency_key, schema_version, max_attempts, partition_key, source_topic, source_partition, source_offset,
    produced_at, digest, raw_key, scheduled_at, created_at, updated_at, status, completed_at
)
select
    n.id, n.message_id, n.consumer_group, n.event_type, n.source, n.payload::json, n.headers::jsonb, n.trace_id,
    n.correlation_id, n.causation_id, n.idempotency_key, n.schema_version, n.max_attempts, n.partition_key,
    n.source_topic, n.source_partition, n.source_offset, n.produced_at, n.digest, n.raw_key,
    coalesce(n.scheduled_at, t.now), t.now, t.now,
    case when $22::bool then 'completed' else 'pending' end, case when $22::bool then t.now end
from (select {{clock}} as now) t cross join unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::int[], $14::text[], $15::text[], $16::int[], $17::bigint[],
    $18::timestamptz[], $19::bytea[], $20::bytea[], $21::timestamptz[]
) as n (
    id, message_id, consumer_group, event_type, source, payload, headers, trace_id, correlation_id, causation_id,
    idempotency_key, schema_version, max_attempts, partition_key, source_topic, source_partition, source_offset,
    produced_at, digest, raw_key, scheduled_at
)
order by n.message_id, n.consumer_group
on conflict (message_id, consumer_group) do nothing
returning id
