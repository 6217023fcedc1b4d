-- history_differences: counts of the history that do not follow from those before and the changes; no row if all do
-- parameters: sender_id bigint
SELECT /* queries/history_differences.sql */ sender_id, step, isp, at, status, expected, kept
FROM queuestats.history_differences(cast(:sender_id AS bigint))
ORDER BY sender_id, step, at, isp, status
