select p.clean from {{inbox_partitions}} p where p.consumer_group = ?1 and p.topic = ?2 and p."partition" = ?3
