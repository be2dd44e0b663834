select e.id from {{outbox_events}} e where e.scheduled_at <= {{clock}} limit ?
