-- Whether followers of a key wait.
select exists (
    select 1 from {{outbox_events}} f
    where f.lane = ?1 and f.topic = ?2 and f.partition_key = ?3 and f.status = 'pending' and f.held = 1 and f.head = 0
)
