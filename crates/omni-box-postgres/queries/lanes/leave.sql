with gone as (
    delete from {{outbox_relays}} where owner = $1
),
mine as materialized (
    select l.lane from {{outbox_lanes}} l where l.owner = $1 order by l.lane for no key update
)
update {{outbox_lanes}} l set owner = null, worker = null, leased_until = null, idle = false
from mine m where l.lane = m.lane
