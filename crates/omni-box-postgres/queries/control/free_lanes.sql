-- Ends leases that have run out: an owner that hung must not renew them in another mode.
update {{outbox_lanes}} set owner = null, worker = null, leased_until = null, idle = false where owner is not null
