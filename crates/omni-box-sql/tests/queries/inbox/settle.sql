update {{events}} set locked_by = null
