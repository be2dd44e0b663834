-- One bounded step of the clean-up of a group's quarantine.
delete from {{inbox_quarantine}}
where rowid in (
    select d.rowid from {{inbox_quarantine}} d
    where d.consumer_group = ?1 and d.created_at < {{clock}} - ?2
    order by d.created_at
    limit ?3
)
