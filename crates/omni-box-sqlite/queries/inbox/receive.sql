-- Stores a message, as completed (?22) if what it does is written in the same transaction; one that is there already is left out.
insert into {{inbox_events}} (
    id, message_id, consumer_group, event_type, source, payload, headers, trace_id, correlation_id, causation_id,
    idempotency_key, schema_version, max_attempts, partition_key, source_topic, source_partition, source_offset,
    produced_at, digest, raw_key, scheduled_at, created_at, updated_at, status, completed_at
)
select
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, coalesce(?21, t.now), t.now, t.now,
    iif(?22, 'completed', 'pending'), iif(?22, t.now, null)
from (select {{clock}} as now) t
where true
on conflict (message_id, consumer_group) do nothing
