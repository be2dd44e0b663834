update {{events}} e set e.locked_at = null where e.locked_at < {{clock}} returning e.id, {{event_columns}}
