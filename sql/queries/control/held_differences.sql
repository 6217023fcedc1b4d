-- held_differences: the holds of a sender (NULL: of all senders) whose messages differ from held_messages
-- parameters: sender_id bigint
SELECT /* queries/control/held_differences.sql */ sender_id, hold_id, kept, counted
FROM queuestats.held_differences(cast(:sender_id AS bigint))
ORDER BY sender_id, hold_id
