delete from {{inbox_quarantine}}
where id in (select j.value from json_each(?1) j)
returning id
