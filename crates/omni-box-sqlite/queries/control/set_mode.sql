update {{omni_box_control}} set delivery_mode = ?1
