-- settle: on a node of a cluster, one step towards counts of the shards that are there; NULL: nothing to do
-- parameters: none
SELECT /* queries/citus/settle.sql */ queuestats_local.settle() AS done
