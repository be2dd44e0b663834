-- One bounded step of the clean-up, along the index of completed messages from where the step before has ended ($3): while an old snapshot is
-- open, what was deleted stays in the index, and is not met again. Skips what others look at. Returns how many were deleted, and where it
-- ended. As an array, because a subquery with SKIP LOCKED that is run again inside a join finds other rows, and then the limit bounds nothing.
-- By primary key: see the concatenation in inbox/settle_completed.sql. The limit is a subquery so that the planner does not know it: with one
-- above its count of the rows it would sort them all.
with gone as (
    delete from {{inbox_events}} e
    where e.id = any(array(
        select d.id from {{inbox_events}} d
        where d.status = 'completed' and d.completed_at >= coalesce($3::timestamptz, '-infinity')
            and d.completed_at < {{clock}} - $1::interval
        order by d.completed_at
        limit (select $2::bigint)
        for update skip locked
    )) and e.status || '' = 'completed'
    returning e.completed_at
)
select count(*), max(g.completed_at) from gone g
