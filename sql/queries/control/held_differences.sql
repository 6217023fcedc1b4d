-- held_differences: the holds whose held messages are not what is kept of them, of one sender or (NULL) of all
-- parameters: sender_id bigint
SELECT /* queries/control/held_differences.sql */ sender_id, hold_id, kept, counted
FROM queuestats.held_differences(cast(:sender_id AS bigint))
ORDER BY sender_id, hold_id
