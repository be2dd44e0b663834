select {{inbox_columns}} from {{inbox_events}} e where e.id = ?1
