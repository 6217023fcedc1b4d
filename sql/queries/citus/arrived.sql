-- arrived: the shards of this node whose holds and jobs may still be on another node, and the hashes of their senders
-- parameters: none
SELECT /* queries/citus/arrived.sql */ arrived.shard, arrived.arrival, own.lowest AS low, own.highest AS high
FROM queuestats_local.arrived_shards AS arrived INNER JOIN queuestats_local.shards AS own ON own.shard = arrived.shard
