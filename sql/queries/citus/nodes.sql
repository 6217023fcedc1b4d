-- nodes: the nodes that have shards of messages
-- parameters: none
SELECT /* queries/citus/nodes.sql */ node.nodename AS host, node.nodeport AS port, node.groupid AS node_group
FROM pg_dist_node AS node
WHERE node.noderole = 'primary'
  AND EXISTS (
    SELECT
    FROM pg_dist_placement AS placement
      INNER JOIN pg_dist_shard AS shard ON shard.shardid = placement.shardid
    WHERE placement.groupid = node.groupid AND shard.logicalrelid = to_regclass('public.messages')
  )
ORDER BY node.nodeid
