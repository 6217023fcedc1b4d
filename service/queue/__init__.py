"""Reading a queue."""
