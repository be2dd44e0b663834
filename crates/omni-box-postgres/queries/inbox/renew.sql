-- Each failed message is stored anew at its place, as another message with all its attempts; it is completed by that.
with failed as (
    update {{inbox_events}} e
    set status = 'completed', completed_at = {{clock}}, locked_at = null, locked_by = null, updated_at = {{clock}}
    from unnest($1::uuid[], $2::uuid[]) as n (id, fresh)
    where e.id = n.id and e.status || '' = 'failed'
    returning n.fresh, e.*
)
insert into {{inbox_events}} (
    id, message_id, consumer_group, event_type, source, payload, headers, trace_id, correlation_id, causation_id,
    idempotency_key, schema_version, max_attempts, partition_key, source_topic, source_partition, source_offset,
    produced_at, digest, raw_key, scheduled_at, created_at, updated_at
)
select
    f.fresh, f.fresh::text, f.consumer_group, f.event_type, f.source, f.payload, f.headers, f.trace_id, f.correlation_id,
    f.id::text, f.idempotency_key, f.schema_version, f.max_attempts, f.partition_key, f.source_topic, f.source_partition,
    f.source_offset, f.produced_at, f.digest, f.raw_key, t.now, t.now, t.now
from (select {{clock}} as now) t cross join failed f
returning id
