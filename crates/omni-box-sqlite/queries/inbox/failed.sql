-- Messages that were given up, in the order in which that happened, behind the last one of the page before.
select {{inbox_columns}}
from {{inbox_events}} e
where e.status = 'failed' and (e.updated_at, e.id) > (coalesce(?2, -9223372036854775808), coalesce(?3, ''))
    and (?4 = '[]' or e.source in (select j.value from json_each(?4) j))
    and (?5 = '[]' or e.consumer_group in (select j.value from json_each(?5) j))
order by e.updated_at, e.id
limit ?1
