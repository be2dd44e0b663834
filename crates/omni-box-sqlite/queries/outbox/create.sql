-- Stores an event; one that repeats an idempotency key is left out.
insert into {{outbox_events}} (
    id, event_type, aggregate_type, aggregate_id, topic, partition_key, payload, headers, trace_id, correlation_id,
    causation_id, idempotency_key, schema_version, max_attempts, scheduled_at, created_at, updated_at
)
select ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, coalesce(?15, t.now), t.now, t.now
from (select {{clock}} as now) t
where true
on conflict (idempotency_key) where idempotency_key is not null do nothing
returning scheduled_at, created_at
