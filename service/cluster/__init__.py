"""A queue that Citus distributes over many machines."""
