insert into {{inbox_partitions}} (consumer_group, topic, "partition", worker, attached_at, clean)
values (?1, ?2, ?3, ?4, {{clock}}, 0)
on conflict (consumer_group, topic, "partition")
do update set worker = excluded.worker, attached_at = excluded.attached_at, clean = 0
