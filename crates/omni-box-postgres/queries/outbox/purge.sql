-- One bounded step of the clean-up, by `seq`: of the next rows behind $3 it deletes those that were completed long ago, at most $2, and skips
-- what others look at. Returns how many it deleted, where the step ended (null at the end of the table), and whether any row of it was
-- created or completed long ago: behind a step without one lies nothing that is old. What is set aside is in another index, and costs nothing here.
-- As an array, because a subquery with SKIP LOCKED that is run again inside a join finds other rows, and then the limit bounds nothing.
-- By primary key: see the concatenation in inbox/settle_completed.sql.
with lanes as materialized (
    -- the planner takes them for one: it expects so many rows else that it compiles the statement (200 ms)
    select l.lane from {{outbox_lanes}} l where abs(l.lane) = l.lane
),
step as materialized (
    select min(f.seq) as first, min(f.seq) + least(greatest($2::bigint, 1000), 10000) - 1 as last
    from lanes l
    cross join lateral (
        select e.seq from {{outbox_events}} e
        where e.lane = l.lane and e.aside is null and e.seq > $3
        order by e.seq
        limit 1
    ) f
),
old as materialized (
    select d.id, d.seq, d.status || '' = 'completed' and d.completed_at < {{statement_clock}} - $1::interval as is_done
    from step s
    cross join lanes l
    cross join lateral (
        select e.id, e.seq, e.status, e.completed_at, e.created_at from {{outbox_events}} e
        where e.lane = l.lane and e.aside is null and e.seq >= s.first and e.seq <= s.last
        order by e.seq
        limit 10000
    ) d
    where least(d.created_at, d.completed_at) < {{statement_clock}} - $1::interval
),
gone as (
    delete from {{outbox_events}} e
    where e.id = any(array(
        select d.id from {{outbox_events}} d
        where d.id = any(array(select o.id from old o where o.is_done order by o.seq limit $2))
            and d.status || '' = 'completed'
        for update skip locked
    )) and e.status || '' = 'completed'
    returning e.id
)
select
    (select count(*) from gone),
    -- what the limit left out comes with the next step
    case
        when (select count(*) from old o where o.is_done) > $2 then s.first - 1
        when exists (
            select from lanes l cross join lateral (
                select from {{outbox_events}} e where e.lane = l.lane and e.aside is null and e.seq > s.last order by e.seq limit 1
            ) f
        ) then s.last
    end,
    exists (select from old)
from step s
