select {{outbox_columns}} from {{outbox_events}} e where e.seq in (select j.value from json_each(?1) j) order by e.seq
