-- The unique indexes of a table: name, columns, and whether there is a condition on the rows.
select
    i.relname::text,
    (
        select string_agg(a.attname, ',' order by k.place)
        from unnest(x.indkey::int2[]) with ordinality as k (attnum, place)
        join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum
    ),
    pg_get_expr(x.indpred, x.indrelid)
from pg_index x
join pg_class i on i.oid = x.indexrelid
join pg_class c on c.oid = x.indrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2 and x.indisunique and x.indisvalid
order by i.relname
