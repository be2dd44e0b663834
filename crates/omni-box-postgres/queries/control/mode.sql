select c.delivery_mode, c.schema_version, c.lanes from {{omni_box_control}} c
