select {{inbox_columns}} from {{inbox_events}} e
where e.id in (select j.value from json_each(?1) j)
order by e.scheduled_at, e.id
