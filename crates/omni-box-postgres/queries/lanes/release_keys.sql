-- A fetch returns what was released wherever it lies.
-- What waits behind a head that is done becomes due again, in its old order; not while another head of the key waits. At most $5 of each
-- key and $6 in all: each key's scan ends at its limit, and the scan of the keys at the limit of all.
-- The concatenation is that of inbox/settle_completed.sql.
update {{outbox_events}} e
set held = false, released = true, updated_at = {{clock}}
where e.id = any(array(
    select b.id
    from unnest($1::smallint[], $2::text[], $3::text[]) as k (lane, topic, partition_key)
    cross join lateral (
        select f.id from {{outbox_events}} f
        where f.lane = k.lane and f.topic = k.topic and f.partition_key = k.partition_key
            and f.aside = 'follower'
        order by f.seq
        limit (select $5::bigint)
    ) b
    where k.lane = any($4::smallint[]) and (
        select count(*) from {{outbox_events}} h
        where h.lane = k.lane and h.topic = k.topic and h.partition_key = k.partition_key
            and h.aside = 'head'
    ) = 0
    limit (select $6::bigint)
)) and e.status || '' = 'pending' and e.held and not e.head
