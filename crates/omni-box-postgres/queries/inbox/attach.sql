-- Notes that a worker begins with a partition; returns how the one before it ended.
with before as materialized (
    select p.clean from {{inbox_partitions}} p
    where p.consumer_group = $1 and p.topic = $2 and p.partition = $3
),
attached as (
    insert into {{inbox_partitions}} (consumer_group, topic, partition, worker, attached_at, clean)
    values ($1, $2, $3, $4, {{clock}}, false)
    on conflict (consumer_group, topic, partition)
    do update set worker = excluded.worker, attached_at = excluded.attached_at, clean = false
)
select coalesce((select b.clean from before b), true)
