update {{outbox_lanes}} set owner = null, worker = null, leased_until = null, idle = 0
where lane in (select j.value from json_each(?1) j)
