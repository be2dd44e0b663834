-- Where the sequence of events stands, null where the role may not see it, and the highest `seq` that waits: of what is due in the order of
-- `seq`, an entry of an index for each lane (above `read_to`, as all below is done), or in the mode `rows` of that mode's own index; with $2
-- of all that waits. The sequence is read after the snapshot is taken, and so is behind only where it was set back.
select
    case when has_sequence_privilege(s.oid, 'select, usage') then coalesce(pg_sequence_last_value(s.oid), 0) end as last,
    coalesce(greatest(
        case
            when (select c.delivery_mode from {{omni_box_control}} c limit 1) = 'rows' then (
                select by_rows.seq from {{outbox_events}} by_rows where by_rows.status = 'pending' order by by_rows.seq desc limit 1
            )
            else (
                select max(h.seq) from {{outbox_lanes}} l cross join lateral (
                    select e.seq from {{outbox_events}} e
                    where e.lane = l.lane and e.aside is null and nullif(e.status = 'pending', false) is not null
                        and e.seq > l.read_to
                    order by e.seq desc
                    limit 1
                ) h
            )
        end,
        (select max(e.seq) from {{outbox_events}} e where $2 and e.aside = 'deferred'),
        (select max(e.seq) from {{outbox_events}} e where $2 and e.aside = 'released'),
        (select max(e.seq) from {{outbox_events}} e where $2 and e.aside = 'head'),
        (select max(e.seq) from {{outbox_events}} e where $2 and e.aside = 'follower')
    ), 0) as highest
from (select pg_get_serial_sequence($1, 'seq')::regclass::oid as oid) s
