-- Events that were given up and have no copy outside, in the order in which that happened, behind one of the page before.
select {{inbox_columns}}
from {{inbox_events}} e
where e.status = 'failed' and e.copied_at is distinct from e.updated_at
    and ($2::timestamptz is null or (e.updated_at, e.id) > ($2::timestamptz, $3::uuid))
    and (cardinality($4::text[]) = 0 or e.source = any($4::text[]))
    and (cardinality($5::text[]) = 0 or e.consumer_group = any($5::text[]))
order by e.updated_at, e.id
limit $1
