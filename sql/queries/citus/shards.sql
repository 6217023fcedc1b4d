-- shards: the shard of each sender, and the node that has it
-- parameters: sender_id bigint[]
SELECT /* queries/citus/shards.sql */
  sender.id AS sender_id, shard.id AS shard, node.nodename AS host, node.nodeport AS port
FROM unnest(cast(:sender_id AS bigint[])) AS sender (id)
  CROSS JOIN
    LATERAL (
      SELECT queuestats_local.shard_of(sender.id) AS id
    ) AS shard
  INNER JOIN pg_dist_placement AS placement ON placement.shardid = shard.id
  INNER JOIN pg_dist_node AS node ON node.groupid = placement.groupid AND node.noderole = 'primary'
