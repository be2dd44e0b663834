-- One bounded step of the clean-up, along the index of completed rows. Skips what others look at. As an array, because a subquery
-- with SKIP LOCKED that is run again inside a join finds other rows, and then the limit bounds nothing.
-- By primary key: see the concatenation in inbox/settle_completed.sql. The limit is a subquery so that the planner does not know it: with one
-- above its count of the rows it would sort them all.
delete from {{events}} e
where e.id = any(array(
    select d.id from {{events}} d
    where d.status = 'completed' and d.completed_at < {{clock}} - $1::interval
    order by d.completed_at
    limit (select $2::bigint)
    for update skip locked
)) and e.status || '' = 'completed'
