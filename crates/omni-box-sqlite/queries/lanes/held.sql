-- Which of these leases ([lane, epoch] each) are the owner's.
select l.lane from {{outbox_lanes}} l
where l.owner = ?1
    and (l.lane, l.epoch) in (select json_extract(j.value, '$[0]'), json_extract(j.value, '$[1]') from json_each(?2) j)
