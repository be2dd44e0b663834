select {{inbox_columns}}
from {{inbox_events}} e
where e.consumer_group = ?1 and e.source_topic = ?2 and e.source_partition = ?3 and e.source_offset > ?4
    and e.status = 'pending'
order by e.source_offset
limit ?5
