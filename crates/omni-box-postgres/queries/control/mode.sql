select c.delivery_mode, c.schema_version, c.lanes from {{control}} c
