update {{outbox_lanes}} set owner = null, worker = null, leased_until = null, idle = 0 where owner = ?1
