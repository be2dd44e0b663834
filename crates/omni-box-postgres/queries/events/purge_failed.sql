-- One bounded step of the clean-up of failed rows, along their index; see events/purge.sql.
delete from {{events}} e
where e.id = any(array(
    select d.id from {{events}} d
    where d.status = 'failed' and d.updated_at < {{clock}} - $1::interval
    order by d.updated_at
    limit (select $2::bigint)
    for update skip locked
)) and e.status || '' = 'failed'
