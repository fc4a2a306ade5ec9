"""Sets that hold networks of many families."""
