-- Each failed message is stored anew at its place, as another message with all its attempts. ?1 is a list of [its id, the new one].
insert into {{inbox_events}} (
    id, message_id, consumer_group, event_type, source, payload, headers, trace_id, correlation_id, causation_id,
    idempotency_key, schema_version, max_attempts, partition_key, source_topic, source_partition, source_offset,
    produced_at, digest, raw_key, scheduled_at, created_at, updated_at
)
select
    n.fresh, n.fresh, f.consumer_group, f.event_type, f.source, f.payload, f.headers, f.trace_id, f.correlation_id, f.id,
    f.idempotency_key, f.schema_version, f.max_attempts, f.partition_key, f.source_topic, f.source_partition,
    f.source_offset, f.produced_at, f.digest, f.raw_key, {{clock}}, {{clock}}, {{clock}}
from (
    select json_extract(j.value, '$[0]') as id, json_extract(j.value, '$[1]') as fresh from json_each(?1) j
) n
cross join {{inbox_events}} f on f.id = n.id and +f.status = 'failed'
returning id
