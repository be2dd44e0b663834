-- Events that were given up and have no copy outside, in the order in which that happened, behind one of the page before.
select {{inbox_columns}}
from {{inbox_events}} e
where e.status = 'failed' and e.copied_at is distinct from e.updated_at
    and (e.updated_at, e.id)
        > (coalesce($2::timestamptz, '-infinity'), coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
    and (cardinality($4::text[]) = 0 or e.source = any($4::text[]))
    and (cardinality($5::text[]) = 0 or e.consumer_group = any($5::text[]))
order by e.updated_at, e.id
limit $1
