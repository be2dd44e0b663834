-- Each failed event is stored anew at the end of its key, as another event with all its attempts; it is completed by that.
with failed as (
    update {{outbox_events}} e
    set status = 'completed', completed_at = {{clock}}, locked_at = null, locked_by = null, updated_at = {{clock}}
    from unnest($1::uuid[], $2::uuid[]) as n (id, fresh)
    where e.id = n.id and e.status || '' = 'failed'
    returning n.fresh, e.*
)
insert into {{outbox_events}} (
    id, event_type, aggregate_type, aggregate_id, topic, partition_key, payload, headers, trace_id, correlation_id,
    causation_id, schema_version, max_attempts, scheduled_at, created_at, updated_at
)
select
    f.fresh, f.event_type, f.aggregate_type, f.aggregate_id, f.topic, f.partition_key, f.payload, f.headers, f.trace_id,
    f.correlation_id, f.id::text, f.schema_version, f.max_attempts, t.now, t.now, t.now
from (select {{clock}} as now) t cross join failed f
order by f.seq
returning id
