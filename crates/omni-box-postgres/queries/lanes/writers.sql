-- Who may still commit an event with a low `seq`. An insert locks the table in this mode before it takes its `seq`, and keeps the lock until
-- its transaction has ended. $1 is the table's name as text. A prepared transaction has no process, and another name than it had before.
-- `last` is what the sequence gave last, where this role may know; a sequence that gives numbers in advance proves nothing.
select
    l.writers,
    l.any_prepared,
    coalesce((select q.seqcache = 1 from pg_sequence q where q.seqrelid = s.sequence), false) as is_provable,
    case when has_sequence_privilege(s.sequence, 'select, usage') then pg_sequence_last_value(s.sequence) end as last,
    {{server}} as server
from (select pg_get_serial_sequence($1, 'seq')::regclass as sequence) s
cross join (
    select
        coalesce(array_agg(l.virtualtransaction), '{}') as writers,
        coalesce(bool_or(l.pid is null), false) as any_prepared
    from pg_locks l
    where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
        and l.relation = to_regclass($1)
        and l.database = (select d.oid from pg_database d where d.datname = current_database())
) l
