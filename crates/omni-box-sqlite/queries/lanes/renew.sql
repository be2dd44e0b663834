update {{outbox_lanes}} set leased_until = {{clock}} + ?2 where owner = ?1 returning lane, epoch
