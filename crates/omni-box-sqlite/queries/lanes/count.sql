select (select count(*) from {{outbox_relays}}), (select count(*) from {{outbox_lanes}})
