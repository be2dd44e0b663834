-- The same of a group (?5), along the index of its own.
select {{inbox_columns}}
from {{inbox_events}} e
where e.status = 'failed' and e.consumer_group = ?5
    and (e.updated_at, e.id) > (coalesce(?2, -9223372036854775808), coalesce(?3, ''))
    and (?4 = '[]' or e.source in (select j.value from json_each(?4) j))
order by e.updated_at, e.id
limit ?1
