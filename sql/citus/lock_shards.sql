-- lock_shards: keeps the service from bringing up a shard until the transaction ends, so that each shard is made of the
-- former texts or of the new ones
-- parameters: none
LOCK /* citus/lock_shards.sql */ TABLE queuestats_node.shards IN SHARE ROW EXCLUSIVE MODE
