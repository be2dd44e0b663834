-- Stores one event without an idempotency key. Wakes relays as outbox/create.sql does.
insert into {{outbox_events}} as e (
    id, event_type, aggregate_type, aggregate_id, topic, partition_key, payload, headers, trace_id, correlation_id,
    causation_id, schema_version, max_attempts, scheduled_at, created_at, updated_at
)
select
    $1::uuid, $2::text, $3::text, $4::uuid, $5::text, $6::text, $7::text::json, $8::text::jsonb, $9::text, $10::text,
    $11::text, $12::text, $13::int, coalesce($14::timestamptz, t.now), t.now, t.now
from (select {{clock}} as now) t
returning
    e.scheduled_at, e.created_at,
    case
        when $15::text is not null and exists (
            select from {{outbox_lanes}} l where l.idle and l.lane = e.lane and l.leased_until > {{clock}}
        )
        then pg_notify($15, '')
    end
