insert into {{outbox_relays}} (owner, worker, alive_until)
values (?1, ?2, {{clock}} + ?3)
on conflict (owner) do update set worker = excluded.worker, alive_until = excluded.alive_until
