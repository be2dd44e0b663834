-- Completes pending events of lanes that are still the owner's, and tells which are not, or are locked by another session. The lock comes
-- first: a take-over (FOR UPDATE) waits for this statement, or this statement leaves the lane out.
-- The concatenation is that of inbox/settle_completed.sql, and so are the ids as a subquery.
with mine as materialized (
    select l.lane from {{outbox_lanes}} l
    join unnest($2::smallint[], $3::bigint[]) as w (lane, epoch) on l.lane = w.lane and l.epoch = w.epoch
    where l.owner = $1
    order by l.lane
    for key share of l skip locked
),
done as (
    update {{outbox_events}} e
    set status = 'completed', completed_at = {{clock}}, updated_at = {{clock}}, held = false, head = false,
        hold_until = null, released = false, locked_at = null, locked_by = null
    where e.id = any(array(select f.id from unnest($4::uuid[]) as f (id))) and e.status || '' = 'pending' and e.lane = any(array(select m.lane from mine m))
)
select array(
    select w.lane from unnest($2::smallint[]) as w (lane) where w.lane not in (select m.lane from mine m)
) as lost,
    {{outbox_is_large}} as is_large
