-- The same, but for lanes that another session has locked.
select l.lane from {{outbox_lanes}} l
join unnest($2::smallint[], $3::bigint[]) as w (lane, epoch) on l.lane = w.lane and l.epoch = w.epoch
where l.owner = $1
order by l.lane
for key share of l skip locked
