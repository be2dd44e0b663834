-- Events that were given up and have no copy outside, in the order in which that happened, behind one of the page before.
select {{outbox_columns}}
from {{outbox_events}} e
where e.uncopied_at is not null
    and (e.uncopied_at, e.id)
        > (coalesce($2::timestamptz, '-infinity'), coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
    and (cardinality($4::text[]) = 0 or e.topic = any($4::text[]))
    and (cardinality($5::text[]) = 0 or e.aggregate_type = any($5::text[]))
    and (cardinality($6::uuid[]) = 0 or e.aggregate_id = any($6::uuid[]))
order by e.uncopied_at, e.id
limit $1
