update {{events}} set held = 0
