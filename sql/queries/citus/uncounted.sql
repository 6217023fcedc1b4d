-- uncounted: on a node of a cluster, how many shards that are there are not counted yet
-- parameters: none
SELECT /* queries/citus/uncounted.sql */ queuestats_node.uncounted() AS shards
