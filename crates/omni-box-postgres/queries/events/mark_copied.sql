-- Failures that have a copy outside. A row that has changed since has another one. By primary key: see inbox/settle_completed.sql.
update {{events}} e
set copied_at = e.updated_at
from unnest($1::uuid[], $2::timestamptz[]) as c (id, failed_at)
where e.id = c.id and e.updated_at = c.failed_at and e.status || '' = 'failed'
