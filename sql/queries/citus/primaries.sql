-- primaries: the nodes that have shards or may get shards
-- parameters: none
SELECT /* queries/citus/primaries.sql */ node.nodename AS host, node.nodeport AS port
FROM pg_dist_node AS node
WHERE node.noderole = 'primary'
  AND (
    (node.isactive AND node.groupid <> 0)
    OR EXISTS (
      SELECT
      FROM pg_dist_placement AS placement
        INNER JOIN pg_dist_shard AS shard ON shard.shardid = placement.shardid
      WHERE placement.groupid = node.groupid AND shard.logicalrelid = to_regclass('public.messages')
    )
  )
ORDER BY node.nodeid
