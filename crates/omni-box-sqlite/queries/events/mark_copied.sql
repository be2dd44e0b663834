-- Failures that have a copy outside. A row that has changed since has another one.
update {{events}} as e
set copied_at = e.updated_at
from (select j.value ->> 0 as id, j.value ->> 1 as failed_at from json_each(?1) j) c
where e.id = c.id and e.updated_at = c.failed_at and +e.status = 'failed'
