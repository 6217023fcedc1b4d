-- history_differences: on a node, queries/history_differences.sql for the senders whose shards are counted
-- parameters: sender_id bigint
SELECT /* queries/citus/history_differences.sql */ sender_id, step, isp, at, status, expected, kept
FROM queuestats_local.history_differences(cast(:sender_id AS bigint))
WHERE queuestats_local.is_compared(sender_id)
ORDER BY sender_id, step, at, isp, status
