with mine as materialized (
    select l.lane from {{outbox_lanes}} l
    join unnest($2::smallint[], $3::bigint[]) as w (lane, epoch) on l.lane = w.lane and l.epoch = w.epoch
    where l.owner = $1 and l.idle <> $4
    order by l.lane
    for no key update of l
)
update {{outbox_lanes}} l set idle = $4
from mine m where l.lane = m.lane
