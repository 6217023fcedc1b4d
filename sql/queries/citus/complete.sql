-- complete: from now on this node changes the holds and jobs of a shard, because no other node has some of them
-- parameters: shard bigint, arrival bigint
SELECT /* queries/citus/complete.sql */
  queuestats_local.complete(cast(:shard AS bigint), cast(:arrival AS bigint)) AS is_complete
