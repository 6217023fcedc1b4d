-- rebuild: on the node that has the sender's shard, recounts the sender's messages, while writers continue
-- It fails while a TRUNCATE empties the shards, because the TRUNCATE would wait for it.
-- parameters: sender_id bigint
SELECT /* queries/citus/rebuild.sql */ queuestats_local.rebuild(cast(:sender_id AS bigint))
FROM set_config('lock_timeout', '1s', true)
