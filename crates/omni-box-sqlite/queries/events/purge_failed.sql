-- One bounded step of the clean-up of failed rows.
delete from {{events}}
where rowid in (
    select d.rowid from {{events}} d
    where d.status = 'failed' and d.updated_at < {{clock}} - ?1
    order by d.updated_at
    limit ?2
)
