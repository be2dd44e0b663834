-- One bounded step of the clean-up of a group's quarantine, along its index; see inbox/purge.sql.
delete from {{inbox_quarantine}} q
where q.id = any(array(
    select d.id from {{inbox_quarantine}} d
    where d.consumer_group = $1 and d.created_at < {{clock}} - $2::interval
    order by d.created_at
    limit (select $3::bigint)
    for update skip locked
))
