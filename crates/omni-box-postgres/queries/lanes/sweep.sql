-- Finds what was made due by hand below `read_to`, where owners do not look, and marks it as released. A slice of the table, by `seq`: $3
-- is where the one before has ended, and the answer is where this one does; null at the end.
with mine as materialized (
    select l.lane, l.read_to from {{outbox_lanes}} l
    where l.owner = $1 and l.lane = any($2::smallint[])
    order by l.lane
    for key share of l skip locked
),
slice as materialized (
    select min(f.seq) as first, min(f.seq) + 4999 as last
    from mine m
    cross join lateral (
        select e.seq from {{outbox_events}} e
        where e.lane = m.lane and e.aside is null and e.seq > $3 and e.seq <= m.read_to
        order by e.seq
        limit 1
    ) f
),
found as (
    update {{outbox_events}} e
    set released = true, updated_at = {{clock}}
    where e.id = any(array(
        select d.id from slice s
        cross join mine m
        cross join lateral (
            select e.id from (
                select e.id, e.status from {{outbox_events}} e
                where e.lane = m.lane and e.aside is null and e.seq >= s.first and e.seq <= least(s.last, m.read_to)
                order by e.seq
                limit 10000
            ) e
            where e.status = 'pending'
        ) d
    )) and e.status || '' = 'pending' and not e.held
)
select s.last from slice s
