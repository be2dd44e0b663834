update {{outbox_lanes}} set idle = ?2 where lane in (select j.value from json_each(?1) j) and idle <> ?2
