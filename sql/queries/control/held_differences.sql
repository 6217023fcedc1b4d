-- held_differences: the holds whose rows of held messages do not agree with the messages; sender_id NULL: of all
-- senders
-- parameters: sender_id bigint
SELECT /* queries/control/held_differences.sql */ sender_id, hold_id, kept, counted
FROM queuestats.held_differences(cast(:sender_id AS bigint))
ORDER BY sender_id, hold_id
