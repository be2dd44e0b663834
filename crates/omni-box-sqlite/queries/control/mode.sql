select c.delivery_mode, c.schema_version from {{omni_box_control}} c
