-- Whether an announcement would change something; who only repeats itself need not wait for the write lock.
select exists (
    select 1 from {{outbox_lanes}} l
    where l.owner = ?1 and l.idle <> ?3
        and (l.lane, l.epoch) in (select json_extract(j.value, '$[0]'), json_extract(j.value, '$[1]') from json_each(?2) j)
)
