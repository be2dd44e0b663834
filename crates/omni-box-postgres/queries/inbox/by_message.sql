select {{inbox_columns}} from {{inbox_events}} e where e.message_id = $1 and e.consumer_group = $2
