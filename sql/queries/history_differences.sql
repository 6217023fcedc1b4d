-- history_differences: counts of the history that differ from the former counts plus the changes; no row if none differ
-- parameters: sender_id bigint
SELECT /* queries/history_differences.sql */ sender_id, step, isp, at, status, expected, kept
FROM queuestats.history_differences(cast(:sender_id AS bigint))
ORDER BY sender_id, step, at, isp, status
