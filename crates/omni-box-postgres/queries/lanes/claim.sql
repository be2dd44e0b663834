-- Takes free or expired lanes. Skipping locked ones never waits for a settlement of the owner before, and never overtakes it.
with free as materialized (
    select l.lane from {{outbox_lanes}} l
    where l.owner is null or l.leased_until < {{clock}}
    order by l.lane
    limit $4
    for update skip locked
)
update {{outbox_lanes}} l
set owner = $1, worker = $2, epoch = l.epoch + 1, leased_until = {{clock}} + $3, idle = false
from free f where l.lane = f.lane
returning l.lane, l.epoch
