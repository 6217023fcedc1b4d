"""Acting on a queue: hold, release, purge."""
