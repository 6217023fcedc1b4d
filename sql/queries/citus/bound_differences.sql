-- bound_differences: on a node, queries/bound_differences.sql for the senders whose shards are counted
-- parameters: sender_id bigint
SELECT /* queries/citus/bound_differences.sql */ sender_id, status, missed
FROM queuestats_local.bound_differences(cast(:sender_id AS bigint))
WHERE queuestats_local.is_compared(sender_id)
ORDER BY sender_id, status
