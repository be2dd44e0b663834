insert into {{inbox_quarantine}} (
    id, consumer_group, topic, partition, "offset", key, headers, value, produced_at, error, fingerprint, created_at
)
select n.*, {{clock}} from unnest(
    $1::uuid[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::bytea[], $7::jsonb[], $8::bytea[], $9::timestamptz[],
    $10::text[], $11::bytea[]
) n
on conflict (consumer_group, topic, partition, "offset", fingerprint) do nothing
