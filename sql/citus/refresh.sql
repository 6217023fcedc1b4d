-- refresh: makes the functions that read the shards of a node anew, from the stored texts
-- parameters: none
SELECT /* citus/refresh.sql */ queuestats_node.refresh()
