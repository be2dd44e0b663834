-- What a group has in quarantine, as it came, behind the last one of the page before.
select q.id, q.consumer_group, q.topic, q."partition", q."offset", q.produced_at, q.error, length(q.value), q.created_at
from {{inbox_quarantine}} q
where q.consumer_group = ?1 and (q.created_at, q.id) > (coalesce(?2, -9223372036854775808), coalesce(?3, ''))
order by q.created_at, q.id
limit ?4
