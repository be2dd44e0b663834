select {{outbox_columns}} from {{outbox_events}} e where e.id = ?1
