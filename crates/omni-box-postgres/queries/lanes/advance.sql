-- Moves `read_to` of the owner's lanes on, and returns the lowest of them; none where another session has a lane locked. A lane is read from
-- there, so all of this must hold of what lies at or below: it has committed ($4, proven at the server that $5 names), and is not due. The
-- table itself is asked for that, in the order of the lane from where the last step ended, and to a limit: what the owner believes to be
-- settled may have been lost with a server. A sequence that stands lower was set back, so that the lane is read from its beginning.
with state as materialized (
    select
        case when has_sequence_privilege(s.oid, 'select, usage') then coalesce(pg_sequence_last_value(s.oid), 0) end as last,
        case when $5::text = {{server}} then $4::bigint end as proven
    from (select pg_get_serial_sequence($3, 'seq')::regclass::oid as oid) s
),
mine as materialized (
    select l.lane, l.read_to from {{outbox_lanes}} l
    where l.owner = $1 and l.lane = any($2::smallint[])
    order by l.lane
    for no key update of l skip locked
),
steps as materialized (
    select m.lane, m.read_to, s.last < m.read_to as is_restarted, least(s.proven, s.last, m.read_to + 200000) as upto
    from mine m
    cross join state s
    where s.proven is not null or s.last < m.read_to
),
moved as materialized (
    select
        t.lane,
        case
            when t.is_restarted then 0
            else greatest(t.read_to, coalesce((
                select e.seq from {{outbox_events}} e
                where e.lane = t.lane and e.aside is null and nullif(e.status = 'pending', false) is not null
                    and e.seq > t.read_to and e.seq <= t.upto
                order by e.seq
                limit 1
            ) - 1, t.upto))
        end as read_to
    from steps t
),
written as (
    update {{outbox_lanes}} l set read_to = m.read_to
    from moved m where l.lane = m.lane and l.read_to <> m.read_to
)
select min(coalesce(d.read_to, m.read_to)) from mine m left join moved d on d.lane = m.lane
