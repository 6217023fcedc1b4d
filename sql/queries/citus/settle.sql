-- settle: on a node of a cluster, one step towards a counted schema for each shard that is there; NULL: nothing to do
-- parameters: none
SELECT /* queries/citus/settle.sql */ queuestats_node.settle() AS done
