-- Relays that are not alive any more.
delete from {{outbox_relays}} where alive_until < {{clock}}
