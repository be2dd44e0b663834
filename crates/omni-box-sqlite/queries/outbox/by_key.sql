select {{outbox_columns}} from {{outbox_events}} e where e.idempotency_key = ?1
