-- One bounded step of the clean-up. Skips what others look at. As an array, because a subquery with SKIP LOCKED that is run again
-- inside a join finds other rows, and then the limit bounds nothing.
delete from {{inbox_events}} e
where e.id = any(array(
    select d.id from {{inbox_events}} d
    where d.status = 'completed' and d.completed_at < {{clock}} - $1::interval
    limit $2
    for update skip locked
)) and e.status = 'completed'
