delete from {{outbox_relays}} where owner = ?1
