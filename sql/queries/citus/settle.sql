-- settle: on a node, the next step to attach and count its shards; NULL if there is nothing to do
-- parameters: none
SELECT /* queries/citus/settle.sql */ queuestats_local.settle() AS done
