select {{event_columns}} from {{events}} e where e.id = ?1
