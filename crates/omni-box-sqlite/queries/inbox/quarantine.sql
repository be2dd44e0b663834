insert into {{inbox_quarantine}} (
    consumer_group, topic, "partition", "offset", "key", headers, value, produced_at, error, created_at
)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, {{clock}})
on conflict (consumer_group, topic, "partition", "offset") do nothing
