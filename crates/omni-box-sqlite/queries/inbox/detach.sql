update {{inbox_partitions}} set clean = 1
where consumer_group = ?1 and topic = ?2 and "partition" = ?3 and worker = ?4
