-- What a group has in quarantine, as it came, behind the last one of the page before.
select q.id, q.consumer_group, q.topic, q.partition, q."offset", q.produced_at, q.error, octet_length(q.value), q.created_at
from {{inbox_quarantine}} q
where q.consumer_group = $1
    and (q.created_at, q.id) > (
        coalesce($2::timestamptz, timestamptz '-infinity'), coalesce($3::uuid, uuid '00000000-0000-0000-0000-000000000000')
    )
order by q.created_at, q.id
limit $4
