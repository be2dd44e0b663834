delete from {{inbox_members}} m where m.member = $1
