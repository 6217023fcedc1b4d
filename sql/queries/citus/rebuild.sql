-- rebuild: on the node that has the sender's shard, counts its messages anew, while writers go on
-- parameters: sender_id bigint
SELECT /* queries/citus/rebuild.sql */ queuestats_local.rebuild(cast(:sender_id AS bigint))
