-- bound_differences: the number of messages before the bound of their sender and status; no row if there are none
-- parameters: sender_id bigint
SELECT /* queries/bound_differences.sql */ sender_id, status, missed
FROM queuestats.bound_differences(cast(:sender_id AS bigint))
ORDER BY sender_id, status
