insert into {{inbox_quarantine}} (
    consumer_group, topic, partition, "offset", key, headers, value, produced_at, error, fingerprint
)
select * from unnest(
    $1::text[], $2::text[], $3::int[], $4::bigint[], $5::bytea[], $6::jsonb[], $7::bytea[], $8::timestamptz[], $9::text[],
    $10::bytea[]
)
on conflict (consumer_group, topic, partition, "offset", fingerprint) do nothing
