-- placements: the shards of messages, or the shard of a sender, with the addresses of their nodes; NULL: no node
-- parameters: sender_id bigint
SELECT /* queries/citus/placements.sql */ shard.shardid AS shard, node.nodename AS host, node.nodeport AS port
FROM pg_dist_shard AS shard
  LEFT JOIN pg_dist_placement AS placement ON placement.shardid = shard.shardid
  LEFT JOIN pg_dist_node AS node ON node.groupid = placement.groupid AND node.noderole = 'primary'
WHERE shard.logicalrelid = to_regclass('public.messages')
  AND (
    cast(:sender_id AS bigint) IS NULL
    OR hashint8(cast(:sender_id AS bigint)) BETWEEN cast(shard.shardminvalue AS integer)
    AND cast(shard.shardmaxvalue AS integer)
  )
ORDER BY shard.shardid
