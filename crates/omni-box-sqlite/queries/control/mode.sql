-- The delivery mode, the version of the schema, and the oldest version whose programs work with it.
select c.delivery_mode, c.schema_version, (select max(coalesce(m.oldest, m.version)) from {{omni_box_migrations}} m) from {{omni_box_control}} c
