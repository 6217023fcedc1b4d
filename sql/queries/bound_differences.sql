-- bound_differences: how many messages of a sender and status answers with `oldest` miss; no row if they miss none
-- parameters: sender_id bigint
SELECT /* queries/bound_differences.sql */ sender_id, status, missed
FROM queuestats.bound_differences(cast(:sender_id AS bigint))
ORDER BY sender_id, status
