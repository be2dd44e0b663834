-- With it goes what is long over.
delete from {{inbox_members}} where member = ?1 or alive_until < {{clock}} - 3600000000
