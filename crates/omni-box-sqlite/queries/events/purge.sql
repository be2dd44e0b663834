-- One bounded step of the clean-up.
delete from {{events}}
where rowid in (
    select d.rowid from {{events}} d
    where d.status = 'completed' and d.completed_at < {{clock}} - ?1
    order by d.completed_at
    limit ?2
)
