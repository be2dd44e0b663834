-- Where the sequence of events stands, null where the role may not see it, and the highest `seq` that waits: of what is due in the order of
-- `seq`, an entry of an index for each lane; with $2 of all that waits. The sequence is read after the snapshot is taken, and so is behind
-- only where it was set back.
select
    case when has_sequence_privilege(s.oid, 'select, usage') then coalesce(pg_sequence_last_value(s.oid), 0) end as last,
    coalesce(greatest(
        (
            select max(h.seq) from {{outbox_lanes}} l cross join lateral (
                select e.seq from {{outbox_events}} e
                where e.lane = l.lane and e.status = 'pending' and not e.held and not e.deferred
                order by e.seq desc
                limit 1
            ) h
        ),
        (select max(e.seq) from {{outbox_events}} e where $2 and e.status = 'pending' and e.deferred and not e.held),
        (select max(e.seq) from {{outbox_events}} e where $2 and e.status = 'pending' and e.held and e.head),
        (select max(e.seq) from {{outbox_events}} e where $2 and e.status = 'pending' and e.held and not e.head)
    ), 0) as highest
from (select pg_get_serial_sequence($1, 'seq')::regclass::oid as oid) s
