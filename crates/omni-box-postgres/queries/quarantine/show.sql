select q.consumer_group, q.topic, q.partition, q."offset", q.produced_at, q.error, q.key, q.headers::text, q.value
from {{inbox_quarantine}} q
where q.id = $1
