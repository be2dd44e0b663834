-- Each failed event is stored anew at the end of its key, as another event with all its attempts. ?1 is a list of [its id, the new one].
insert into {{outbox_events}} (
    id, event_type, aggregate_type, aggregate_id, topic, partition_key, payload, headers, trace_id, correlation_id,
    causation_id, schema_version, max_attempts, scheduled_at, created_at, updated_at
)
select
    n.fresh, f.event_type, f.aggregate_type, f.aggregate_id, f.topic, f.partition_key, f.payload, f.headers, f.trace_id,
    f.correlation_id, f.id, f.schema_version, f.max_attempts, {{clock}}, {{clock}}, {{clock}}
from (
    select json_extract(j.value, '$[0]') as id, json_extract(j.value, '$[1]') as fresh from json_each(?1) j
) n
cross join {{outbox_events}} f on f.id = n.id and +f.status = 'failed'
order by f.seq
returning id
