-- Sorted, so that two that take the same messages out do not deadlock.
with chosen as materialized (
    select q.id from {{inbox_quarantine}} q where q.id = any($1::uuid[]) order by q.id for update
)
delete from {{inbox_quarantine}} q using chosen c where q.id = c.id
returning q.id
