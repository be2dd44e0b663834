update {{outbox_lanes}} set leased_until = {{clock}} + ?3 where owner = ?1 returning lane, epoch
