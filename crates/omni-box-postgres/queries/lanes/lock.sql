-- Keeps lanes from being taken, which takes FOR UPDATE; the owner's own renewal goes on meanwhile.
select l.lane from {{outbox_lanes}} l
join unnest($2::smallint[], $3::bigint[]) as w (lane, epoch) on l.lane = w.lane and l.epoch = w.epoch
where l.owner = $1
order by l.lane
for key share of l
