update {{control}} set delivery_mode = $1
