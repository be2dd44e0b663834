-- One bounded step of the clean-up.
delete from {{inbox_events}}
where rowid in (
    select d.rowid from {{inbox_events}} d
    where d.status = 'completed' and d.completed_at < {{clock}} - ?1
    order by d.completed_at
    limit ?2
)
