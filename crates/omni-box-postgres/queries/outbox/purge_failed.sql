-- One bounded step of the clean-up of failed rows, along their index; see outbox/purge.sql.
delete from {{outbox_events}} e
where e.id = any(array(
    select d.id from {{outbox_events}} d
    where d.aside = 'failed' and d.failed_at < {{clock}} - $1::interval
    order by d.failed_at
    limit (select $2::bigint)
    for update skip locked
)) and e.status || '' = 'failed'
