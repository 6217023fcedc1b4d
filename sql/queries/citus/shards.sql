-- shards: the shards of messages: the least hash of a sender in each, in ascending order, and the group of its node
-- parameters: none
SELECT /* queries/citus/shards.sql */
  shard.shardid AS shard,
  placement.groupid AS node_group,
  cast(shard.shardminvalue AS integer) AS least_hash
FROM pg_dist_shard AS shard
  INNER JOIN pg_dist_placement AS placement ON placement.shardid = shard.shardid
WHERE shard.logicalrelid = to_regclass('public.messages')
ORDER BY least_hash
