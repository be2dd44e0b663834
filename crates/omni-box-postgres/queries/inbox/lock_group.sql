-- One member of a group joins at a time.
select pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 0))
