-- One bounded step; see inbox/purge.sql. What a worker has locked is alive.
update {{events}} e
set locked_at = null, locked_by = null, updated_at = {{clock}}
where e.id = any(array(
    select s.id from {{events}} s
    where s.status = 'pending' and s.locked_at < {{clock}} - $1::interval
    limit (select $2::bigint)
    for update skip locked
)) and e.status || '' = 'pending'
