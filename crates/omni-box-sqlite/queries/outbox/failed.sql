-- Events that were given up, in the order in which that happened, behind the last one of the page before.
select {{outbox_columns}}
from {{outbox_events}} e
where e.status = 'failed' and (e.updated_at, e.id) > (coalesce(?2, -9223372036854775808), coalesce(?3, ''))
    and (?4 = '[]' or e.topic in (select j.value from json_each(?4) j))
    and (?5 = '[]' or e.aggregate_type in (select j.value from json_each(?5) j))
    and (?6 = '[]' or e.aggregate_id in (select j.value from json_each(?6) j))
order by e.updated_at, e.id
limit ?1
