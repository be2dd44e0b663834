insert into {{inbox_quarantine}} (
    id, consumer_group, topic, "partition", "offset", "key", headers, value, produced_at, error, fingerprint, created_at
)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, {{clock}})
on conflict (consumer_group, topic, "partition", "offset", fingerprint) do nothing
