-- One bounded step.
update {{events}}
set locked_at = null, locked_by = null, updated_at = {{clock}}
where rowid in (
    select s.rowid from {{events}} s
    where s.status = 'pending' and s.locked_at < {{clock}} - ?1
    limit ?2
)
