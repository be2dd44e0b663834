-- Takes free or expired lanes.
update {{outbox_lanes}}
set owner = ?1, worker = ?2, epoch = epoch + 1, leased_until = {{clock}} + ?3, idle = 0
where lane in (
    select l.lane from {{outbox_lanes}} l
    where l.owner is null or l.leased_until < {{clock}}
    order by l.lane
    limit ?4
)
returning lane, epoch
